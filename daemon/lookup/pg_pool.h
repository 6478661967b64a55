/* pg_pool: runs lookups in PostgreSQL, a batch at a time on each of several connections.
 *
 * While every connection is busy, lookups gather. The next free connection takes all of them, up to
 * postgres.batch, round robin over the clients' connections: load makes batches larger, not more
 * numerous. A lookup that waits too long for a connection, or for its answer, fails; all lookups
 * fail at once when no server answers.
 *
 * A new connection is first asked which store it leads to. A connection whose answers have an
 * unknown mark is asked again. An answer is not used if it comes from a standby, from a server on
 * an earlier timeline than seen before, or from a table that may hide rows.
 *
 * While none of its own connections is up, the pool may send lookups by the feed's session; after a
 * late answer or a refusal there, not for ten seconds. Idle connections are probed at each of the
 * feed's heartbeats, or without the feed every two seconds. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_POOL_H
#define APIKEYD_PG_POOL_H

#include <apikeyd/thread/back_env.h>

#include "lookup.h"

struct pg_pool;

struct pg_pool_setup {
    struct back_env *env;
    /* Each lookup ends in exactly one of these calls, once. `server_read_us` is PostgreSQL's clock
     * at the read; 0: the key cannot be in the table. `why` lives forever. */
    void (*answered)(void *arg, struct lookup *lookup, const struct verdict *verdict,
                     int64_t server_read_us);
    void (*failed)(void *arg, struct lookup *lookup, const char *why);
    /* The next answers were read from `store`, which is the current one or, with `elsewhere`, not
     * where the feed listens. */
    void (*on_store)(void *arg, const struct store_id *store, bool elsewhere);
    /* Returns whether the feed's session can take a query now. Sends `query` if so, unless it is
     * NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    /* `down`: every connection is known to get no answers. Called when that changes. */
    void (*on_down)(void *arg, bool down);
    void *arg;
};

/* NULL when out of memory. */
struct pg_pool *pg_pool_new(const struct pg_pool_setup *setup);

/* The configuration has changed: keys may be found by other columns from now on. */
void pg_pool_configure(struct pg_pool *pool);

/* All lookups fail first. */
void pg_pool_free(struct pg_pool *pool);

/* Add a lookup, which may end before this returns. Nothing is sent before pg_pool_go(). */
void pg_pool_add(struct pg_pool *pool, struct lookup *lookup);
void pg_pool_go(struct pg_pool *pool);

/* Check whether the server answers, and which store it is: idle connections ask it, and connections
 * in back-off reconnect now. `hurry`: the server is known to answer other sessions, so connections
 * that hang start again. */
void pg_pool_probe(struct pg_pool *pool, bool hurry);

/* At each heartbeat: probe connections that have reported no store since the last heartbeat. */
void pg_pool_heartbeat(struct pg_pool *pool);

/* Returns whether lookups are answered, and every connection that answers has last reported the
 * feed's store. */
bool pg_pool_agree(const struct pg_pool *pool);

/* The pool may use the feed's session from now on, or no longer. */
void pg_pool_feed_is(struct pg_pool *pool, bool usable);

/* Returns whether lookups are answered, by the pool's own sessions or the feed's. */
bool pg_pool_answer(const struct pg_pool *pool);

/* Returns why the last answer could not be used, or NULL. The text lives forever. */
const char *pg_pool_fault(const struct pg_pool *pool);

/* Returns how many connections can take a query or are executing one, and gave a usable last
 * answer. */
size_t pg_pool_up(const struct pg_pool *pool);

#endif
