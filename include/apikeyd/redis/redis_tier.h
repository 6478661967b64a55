/* redis_tier: verdicts in Redis, shared by the sidecars of many hosts.
 *
 * Optional, and never waited for longer than redis.timeout. Fills use NX, so that they cannot
 * overwrite a tombstone, which outlives every verdict read before it: so a revocation that one
 * sidecar has heard of keeps the old verdict from those that have not. Whether a verdict is
 * fresh is not decided here, and never rests on Redis keeping what it was given. Back thread
 * only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_TIER_H
#define APIKEYD_REDIS_TIER_H

#include <apikeyd/thread/back_env.h>

struct redis_tier;

/* What Redis held for a key. */
enum redis_finding {
    FOUND_OFF,  /* no Redis is configured */
    FOUND_DOWN, /* it is not in use now, or nobody knows yet which store's verdicts to ask for */
    FOUND_LATE, /* it did not answer in time, or with an error */
    FOUND_NOTHING,
    FOUND_TOMBSTONE, /* with the time of a change that somebody has heard of */
    FOUND_FORGED,
    FOUND_BROKEN,
    FOUND_UNDATED, /* a verdict whose age cannot be told (see pg_clock) */
    FOUND_VERDICT, /* with its read time: whether it is fresh is the caller's to say */
};

const char *redis_finding_name(enum redis_finding finding);

/* NULL when out of memory. Without redis.url a tier that is always off. */
struct redis_tier *redis_tier_new(struct back_env *env);

/* Give Redis up for good: reads under way end at once. The tier can still be asked. */
void redis_tier_close(struct redis_tier *tier);
void redis_tier_free(struct redis_tier *tier);

/* Whether asking makes sense now. */
bool redis_tier_usable(const struct redis_tier *tier);

/* Read `len` keys of the current store (see store.h) in one round trip. For TOMBSTONE the verdict
 * is UNAVAILABLE, and what was read before its read_at_us is known to be out of date. Then `begin`
 * is called, `each` once a key, in order, and `done`: perhaps before this returns, and never later
 * than redis.timeout. */
struct redis_read {
    void (*begin)(void *arg);
    void (*each)(void *arg, enum redis_finding finding, const struct verdict *verdict);
    void (*done)(void *arg);
    void *arg;
};
void redis_tier_read(struct redis_tier *tier, const struct digest *digests, size_t len,
                     struct redis_read read);

/* Keep a verdict just read from the current store for `ttl_us`. DENY unknown is not kept. */
void redis_tier_fill(struct redis_tier *tier, const struct digest *digest,
                     const struct verdict *verdict, int64_t server_read_us, int64_t ttl_us);

/* Write a tombstone: what was read before now must not be used; `ttl_us` is how long anybody
 * would. */
void redis_tier_tombstone(struct redis_tier *tier, const struct digest *digest, int64_t ttl_us);

#endif
