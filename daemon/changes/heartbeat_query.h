/* heartbeat_query: the feed's question to PostgreSQL at each heartbeat.
 *
 * Besides the store and its clock the query reads the premises of notifications, cheaply: a hash
 * over the definitions of the table, its partitions and children, their columns, triggers and
 * functions; how full the notification queue is; and whether an unannounced change was committed
 * since the last heartbeat. PostgreSQL gives each changed catalog row a new xmin, so triggers that
 * were disabled and enabled again have another hash, as has a table that was replaced or rewritten.
 * When the hash has changed, trigger_inspection judges the definitions. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HEARTBEAT_QUERY_H
#define APIKEYD_HEARTBEAT_QUERY_H

#include <apikeyd/postgres/store_query.h>

enum { SNAPSHOT_SIZE = 8192 };

struct heartbeat {
    struct store store;
    int64_t server_us; /* PostgreSQL's clock, µs since 1970 */
    int32_t server_pid;
    int64_t definition;           /* 0: there is no such table */
    double queue_usage;           /* of the notification queue, 0 to 1 */
    bool has_unannounced;         /* apikeyd.unannounced_change exists and may be read */
    bool unannounced;             /* … and was written to since `since` */
    char snapshot[SNAPSHOT_SIZE]; /* the `since` of the next heartbeat */
};

/* Set the statement and its parameters, which point into `config` and `since` (NULL: the daemon
 * does not use apikeyd.unannounced_change; else the last heartbeat's snapshot). */
void heartbeat_query_bind(struct pg_query *query, const struct config *config, const char *since);

/* False, leaving *ret alone, when the result is not one heartbeat. */
bool heartbeat_query_read(const PGresult *result, struct heartbeat *ret);

#endif
