/* resolver: answers what the memory cache could not.
 *
 *     LOOKUPs ─▶ Redis, one MGET for all that wait ─▶ PostgreSQL, one SELECT for a batch
 *                     └ fresh: answer                  └ answer, and fill Redis
 *
 * What was read before the key's last change that was heard of (freshness) is thrown away,
 * wherever it comes from, and PostgreSQL is asked again. Every lookup is answered exactly once, at
 * shutdown too, and has a deadline wherever it waits. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESOLVER_H
#define APIKEYD_RESOLVER_H

#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct resolver;

struct resolver_setup {
    struct back_env *env;
    /* When something was last used that is not in PostgreSQL yet, or 0; for EXPLAIN. */
    int64_t (*pending)(void *arg, const struct uuid *api_key_id);
    /* Lookups are answered from another store than before, or another run of its server: told
     * before the first answer is. */
    void (*on_home)(void *arg);
    /* Whether the feed's session can take a query now; and send it, unless that is NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *arg;
};

/* NULL when out of memory. */
struct resolver *resolver_new(const struct resolver_setup *setup);

/* Answers what is under way with UNAVAILABLE. */
void resolver_free(struct resolver *resolver);

/* Take a LOOKUP or EXPLAIN; nothing is sent before resolver_go(). */
void resolver_add(struct resolver *resolver, const struct to_back *message);

/* All that has arrived together is added: send it on its way. */
void resolver_go(struct resolver *resolver);

/* A key may have changed: nothing that was read of it before now is fresh, and sidecars that
 * have not heard of it yet find a tombstone in Redis. */
void resolver_invalidate(struct resolver *resolver, const struct digest *digest);

/* See whether PostgreSQL answers lookups; with `hurry` it is known to answer others. */
void resolver_probe(struct resolver *resolver, bool hurry);

/* A heartbeat was answered: see whether lookups still are, and from where. */
void resolver_heartbeat(struct resolver *resolver);

/* The feed's session can be used for lookups from now on, or no longer. */
void resolver_feed_is(struct resolver *resolver, bool usable);

/* Whether lookups have been answered by the feed's store since `since_us` (monotonic). */
bool resolver_agrees(struct resolver *resolver, int64_t since_us);

/* Whether lookups are answered, by the feed's session if not by one of their own. */
bool resolver_answers(const struct resolver *resolver);

/* Whether a lookup asked now may well get no answer: then verdicts are served stale. */
bool resolver_failing(const struct resolver *resolver);

/* When the newest verdict on a key that exists was read that memory was given, and of those that
 * Redis was seen to hold, or was given, for the store that is asked now; or TIME_NEVER. */
int64_t resolver_newest_in_memory(const struct resolver *resolver);
int64_t resolver_newest_in_redis(const struct resolver *resolver);

/* Lookup connections that are of use. */
size_t resolver_connections_up(const struct resolver *resolver);

#endif
