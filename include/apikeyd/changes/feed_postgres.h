/* feed_postgres: the change feed that comes from PostgreSQL.
 *
 * The feed has a connection of its own, on which it LISTENs and sends heartbeats. PostgreSQL sends
 * notifications before it reports that it is ready again, so an answer confirms that the daemon has
 * heard of every change that was committed before the heartbeat was sent. The answer also tells the
 * premises of that: which store this is, whether the triggers are intact, whether the notification
 * queue has room. The feed tells the lease all of it. The feed replaces a connection that is lost,
 * or whose heartbeat is late; notifications sent meanwhile are missed. Changes may also be missed
 * when the triggers change: then the feed inspects the triggers, and they do not count until every
 * transaction that was open at the time has ended. The connection must reach PostgreSQL itself: a
 * pooler drops notifications. With feed.relay the feed also writes what it hears to Redis, for
 * other daemons. Back thread only.
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
    struct lease *lease; /* is told every event; outlives the feed */
    /* A heartbeat is slow: the time to check whether lookups are answered. */
    void (*on_doubt)(void *arg);
    /* The first heartbeat on a new connection was answered, or that connection is lost. */
    void (*on_up)(void *arg, bool up);
    /* A heartbeat was answered. */
    void (*on_heartbeat)(void *arg);
    /* The session has nothing to do. */
    void (*on_idle)(void *arg);
    void *arg;
};

/* NULL when out of memory. The functions that return nothing do nothing with NULL. */
struct feed_postgres *feed_postgres_new(const struct feed_postgres_setup *setup);
void feed_postgres_free(struct feed_postgres *feed);

/* The configuration has changed. */
void feed_postgres_configure(struct feed_postgres *feed);

/* Send a heartbeat now, or as soon as the session is free. */
void feed_postgres_heartbeat(struct feed_postgres *feed);

/* Returns whether the session can take a query now. Sends `query` if so, unless it is NULL. */
bool feed_postgres_lend(struct feed_postgres *feed, const struct pg_query *query);

#endif
