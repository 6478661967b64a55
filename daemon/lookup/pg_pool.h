/* pg_pool: lookups in PostgreSQL, a batch at a time on each of several connections.
 *
 * While every connection is busy lookups gather, and the next one that is free takes all of them,
 * up to postgres.batch, of each connection round robin: load makes batches larger, not more
 * numerous. What waits too long for a connection, or for its answer, fails; so does everything at
 * once when no server answers.
 *
 * Each connection is asked first, when it is new, which store it leads to, and so it is when its
 * answers tell of another one. An answer of a standby, of a server on an earlier timeline than one
 * that was seen, or from where rows may be hidden, is not used.
 *
 * While none of its own connections is up, lookups may be sent by the feed's session; when that is
 * late or refuses, not for ten seconds. Connections are asked for what they are of use at each of
 * the feed's heartbeats, or without the feed every two seconds. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_POOL_H
#define APIKEYD_PG_POOL_H

#include <apikeyd/thread/back_env.h>

#include "lookup.h"

struct pg_pool;

struct pg_pool_setup {
    struct back_env *env;
    /* A lookup handed in comes back by one of these, once. `server_read_us` is PostgreSQL's clock
     * when it was read; 0: it cannot be in the table. `why` lives forever. */
    void (*answered)(void *arg, struct lookup *lookup, const struct verdict *verdict,
                     int64_t server_read_us);
    void (*failed)(void *arg, struct lookup *lookup, const char *why);
    /* The answers that come next were read from `store`, which is the current one or, with
     * `elsewhere`, not where the feed listens. */
    void (*on_store)(void *arg, const struct store_id *store, bool elsewhere);
    /* Whether the feed's session can take a query now; and send it, unless that is NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    /* Whether all connections are known not to be answered has changed. */
    void (*on_down)(void *arg, bool down);
    void *arg;
};

/* NULL when out of memory. */
struct pg_pool *pg_pool_new(const struct pg_pool_setup *setup);

/* All lookups fail first. */
void pg_pool_free(struct pg_pool *pool);

/* Hand a lookup in; it may come back before this returns. Nothing is sent before pg_pool_go(). */
void pg_pool_add(struct pg_pool *pool, struct lookup *lookup);
void pg_pool_go(struct pg_pool *pool);

/* See whether the server answers, and which store it is: connections that have nothing to do ask
 * it, and those that wait for their next attempt make it now. With `hurry` it is known to answer
 * others: those that hang begin anew. */
void pg_pool_probe(struct pg_pool *pool, bool hurry);

/* A heartbeat's time: connections that have told nothing since the last one are asked. */
void pg_pool_heartbeat(struct pg_pool *pool);

/* Whether lookups are answered, and all that answer have told of the feed's store last. */
bool pg_pool_agree(const struct pg_pool *pool);

/* The feed's session can be used from now on, or no longer. */
void pg_pool_feed_is(struct pg_pool *pool, bool usable);

/* Whether lookups are answered, by the feed's session if not by one of its own. */
bool pg_pool_answer(const struct pg_pool *pool);

/* Connections that can take a query or are carrying one out, and whose last answer was of use. */
size_t pg_pool_up(const struct pg_pool *pool);

#endif
