/* feed_postgres: the change feed that comes from PostgreSQL.
 *
 * A connection of its own that LISTENs and sends a heartbeat. PostgreSQL sends notifications before
 * it says that it is ready again, so an answer confirms that all that was committed before the
 * heartbeat was sent has been heard of. It also tells on what that rests: which store this is,
 * whether the triggers are what they should be, whether the notification queue has room. The lease
 * is told all of it. A connection that is lost, or whose heartbeat is late, is made anew; what was
 * notified meanwhile is missed. So may be what was changed when the triggers change: then they are
 * inspected, and do not count until every transaction that was open at the time has ended. It must
 * reach PostgreSQL itself: a pooler drops notifications. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FEED_POSTGRES_H
#define APIKEYD_FEED_POSTGRES_H

#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct feed_postgres;
struct lease;

struct feed_postgres_setup {
    struct back_env *env;
    struct lease *lease; /* told what is heard; outlives the feed */
    /* A heartbeat is taking longer than it should: the time to see whether lookups are answered. */
    void (*on_doubt)(void *arg);
    /* The first heartbeat on a new connection was answered, or that connection is lost. */
    void (*on_up)(void *arg, bool up);
    /* A heartbeat was answered. */
    void (*on_heartbeat)(void *arg);
    /* The session has nothing to do. */
    void (*on_idle)(void *arg);
    void *arg;
};

/* NULL when out of memory. */
struct feed_postgres *feed_postgres_new(const struct feed_postgres_setup *setup);
void feed_postgres_free(struct feed_postgres *feed);

/* The configuration has changed. */
void feed_postgres_configure(struct feed_postgres *feed);

/* Send a heartbeat now, or as soon as the session is free. */
void feed_postgres_heartbeat(struct feed_postgres *feed);

/* Whether the session can take a query now; and send it, unless that is NULL. */
bool feed_postgres_lend(struct feed_postgres *feed, const struct pg_query *query);

#endif
