/* resolver: answers lookups from Redis and PostgreSQL.
 *
 *     LOOKUPs ─▶ Redis, one MGET for all that wait ─▶ PostgreSQL, one SELECT for a batch
 *                     └ fresh: answer                  └ answer, and fill Redis
 *
 * A verdict that was read before the key's last known change (freshness) is discarded, from any
 * tier, and PostgreSQL is asked again. Every lookup is answered exactly once, at shutdown too, and
 * has a deadline wherever it waits. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESOLVER_H
#define APIKEYD_RESOLVER_H

#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct resolver;

struct resolver_setup {
    struct back_env *env;
    /* Returns the key's pending last_used (not in PostgreSQL yet), or 0; for EXPLAIN. */
    int64_t (*pending)(void *arg, const struct row_id *api_key_id);
    /* Lookups are answered from another store than before, or another run of its server. Called
     * before the first such answer. */
    void (*on_home)(void *arg);
    /* Returns whether the feed's session can take a query now. Sends `query` if so, unless it is
     * NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *arg;
};

/* NULL when out of memory. */
struct resolver *resolver_new(const struct resolver_setup *setup);

/* Answers lookups under way with UNAVAILABLE. */
void resolver_free(struct resolver *resolver);

/* The configuration has changed: keys may be found by other columns, or have other digests. */
void resolver_configure(struct resolver *resolver);

/* Take a LOOKUP or EXPLAIN; nothing is sent before resolver_go(). */
void resolver_add(struct resolver *resolver, const struct to_back *message);

/* Send all lookups added since the last call. */
void resolver_go(struct resolver *resolver);

/* The key with this digest, one of several perhaps, may have changed: no verdict of the key that
 * was read before `now_us` is fresh, and sidecars that have not heard of the change find a
 * tombstone in Redis. */
void resolver_invalidate(struct resolver *resolver, const struct digest *digest, int64_t now_us);

/* Check whether PostgreSQL answers lookups; `hurry`: it is known to answer other sessions. */
void resolver_probe(struct resolver *resolver, bool hurry);

/* A heartbeat was answered: check whether lookups still are, and by which store. */
void resolver_heartbeat(struct resolver *resolver);

/* Lookups may use the feed's session from now on, or no longer. */
void resolver_feed_is(struct resolver *resolver, bool usable);

/* Returns whether the feed's store has answered lookups since `since_us` (monotonic). */
bool resolver_agrees(struct resolver *resolver, int64_t since_us);

/* Returns whether lookups are answered, by their own sessions or the feed's. */
bool resolver_answers(const struct resolver *resolver);

/* Returns whether a lookup started now is likely to get no answer: then verdicts are served
 * stale. */
bool resolver_failing(const struct resolver *resolver);

/* Return the read time, or TIME_NEVER, of the newest verdict on an existing key that memory was
 * given, and of the newest one that Redis, for the current store, was given or seen to hold. */
int64_t resolver_newest_in_memory(const struct resolver *resolver);
int64_t resolver_newest_in_redis(const struct resolver *resolver);

/* Returns how many lookup connections are usable. */
size_t resolver_connections_up(const struct resolver *resolver);

/* Returns why the last answer of PostgreSQL could not be used, or NULL. The text lives forever. */
const char *resolver_fault(const struct resolver *resolver);

#endif
