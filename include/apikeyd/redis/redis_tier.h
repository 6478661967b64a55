/* redis_tier: verdicts in Redis, shared by the sidecars of many hosts.
 *
 * The tier is optional; no request waits for it longer than redis.timeout. Fills use NX, so a fill
 * cannot overwrite a tombstone, and a tombstone outlives every verdict read before it: a tombstone
 * written by one sidecar stops the others from using the old verdict. This module does not decide
 * whether a verdict is fresh, and freshness never depends on Redis keeping its data. Back thread
 * only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_TIER_H
#define APIKEYD_REDIS_TIER_H

#include <apikeyd/thread/back_env.h>

struct redis_tier;

/* The finding in Redis for a key. */
enum redis_finding {
    FOUND_OFF,  /* no Redis is configured */
    FOUND_DOWN, /* Redis is not in use now, or the store to ask for is not known yet */
    FOUND_LATE, /* no answer in time, or an error */
    FOUND_NOTHING,
    FOUND_TOMBSTONE, /* with the time of a change that a sidecar has heard of */
    FOUND_FORGED,
    FOUND_BROKEN,
    FOUND_UNDATED, /* a verdict of unknown age (see pg_clock) */
    FOUND_VERDICT, /* with its read time: the caller judges whether it is fresh */
};

const char *redis_finding_name(enum redis_finding finding);

/* NULL when out of memory. Without redis.url a tier that is always off. */
struct redis_tier *redis_tier_new(struct back_env *env);

/* Keys are found in another way from now on (env->key_scheme). */
void redis_tier_configure(struct redis_tier *tier);

/* Close the connection for good: reads under way end at once. The tier still accepts calls. */
void redis_tier_close(struct redis_tier *tier);
void redis_tier_free(struct redis_tier *tier);

/* Returns whether Redis can be asked now. */
bool redis_tier_usable(const struct redis_tier *tier);

/* Returns how many keys one read may ask for: the reply must not be too long. */
size_t redis_tier_batch_max(const struct redis_tier *tier);

/* Read `len` keys of the current store (see store.h) in one round trip. For TOMBSTONE the verdict
 * is UNAVAILABLE, and verdicts read before its read_at_us are out of date. A verdict's attributes
 * live as long as the call of `each`. Then `begin` is called,
 * `each` once a key, in order, and `done`: perhaps before this returns, and never later than
 * redis.timeout. */
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

/* Write a tombstone: older reads must not be used. `ttl_us` is the longest time that a sidecar
 * would use one. */
void redis_tier_tombstone(struct redis_tier *tier, const struct digest *digest, int64_t ttl_us);

#endif
