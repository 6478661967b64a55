/* heartbeat_query: what the link asks PostgreSQL at each heartbeat.
 *
 * Besides the clock it reads what notifications depend on: whether the triggers are there, and a
 * hash over the definitions of the table, its columns, its triggers and their functions. PostgreSQL
 * gives each catalog row that is changed a new xmin, so triggers that were disabled and enabled
 * again have another hash, as has a table that was replaced or rewritten. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HEARTBEAT_QUERY_H
#define APIKEYD_HEARTBEAT_QUERY_H

#include "apikeyd/config.h"
#include "apikeyd/pg_connection.h"

struct heartbeat {
    int64_t server_us; /* PostgreSQL's clock, µs since 1970 */
    int32_t server_pid;
    bool notifies;      /* the triggers fire at every change of a key */
    int64_t definition; /* 0: there is no such table */
};

/* Set the statement and its parameters, which point into `config`. */
void heartbeat_query_bind(struct pg_query *query, const struct config *config);

/* False, leaving *ret alone, when the result is not one heartbeat. */
bool heartbeat_query_read(const PGresult *result, struct heartbeat *ret);

#endif
