/* redis_tier: verdicts in Redis, shared by the sidecars of many hosts.
 *
 * Optional, and never waited for longer than redis.timeout. Fills use NX, so that they cannot
 * overwrite a tombstone, which outlives every verdict read before it. What was in Redis before
 * this daemon lost it for a while is not believed: tombstones may have been missed. Back thread
 * only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_TIER_H
#define APIKEYD_REDIS_TIER_H

#include "apikeyd/back_env.h"
#include "apikeyd/pg_clock.h"

struct redis_tier;

/* What Redis held for a key. */
enum redis_finding {
    FOUND_OFF,  /* no Redis is configured */
    FOUND_DOWN, /* it is not in use now */
    FOUND_LATE, /* it did not answer in time, or with an error */
    FOUND_NOTHING,
    FOUND_TOMBSTONE,
    FOUND_FORGED,
    FOUND_BROKEN,
    FOUND_OLD,     /* a verdict below the floor, or not to be dated */
    FOUND_VERDICT, /* with its read time: whether it is believed is the caller's to say */
};

const char *redis_finding_name(enum redis_finding finding);

/* NULL when memory is short. Without redis.url a tier that is always off. */
struct redis_tier *redis_tier_new(struct back_env *env, const struct pg_clock *clock);

/* Give Redis up for good: reads under way end at once. The tier can still be asked. */
void redis_tier_close(struct redis_tier *tier);
void redis_tier_free(struct redis_tier *tier);

/* Whether asking makes sense now. */
bool redis_tier_usable(const struct redis_tier *tier);

/* Read `len` keys in one round trip. `each` is called once a key, in order, then `done` once:
 * perhaps before this returns, and never later than redis.timeout. */
struct redis_read {
    void (*each)(void *arg, enum redis_finding finding, const struct verdict *verdict);
    void (*done)(void *arg);
    void *arg;
};
void redis_tier_read(struct redis_tier *tier, const struct digest *digests, size_t len,
                     struct redis_read read);

/* Keep a verdict just read from PostgreSQL for `ttl_us`. DENY unknown is not kept. */
void redis_tier_fill(struct redis_tier *tier, const struct digest *digest,
                     const struct verdict *verdict, int64_t server_read_us, int64_t ttl_us);

/* Nobody shall believe what was read before now. If it cannot be written, the floor rises. */
void redis_tier_tombstone(struct redis_tier *tier, const struct digest *digest, int64_t ttl_us);

/* Nothing that was read before now is believed any more. */
void redis_tier_raise_floor(struct redis_tier *tier);

/* Since when what is read from Redis is believed (monotonic); TIME_NEVER: always. */
int64_t redis_tier_floor_us(const struct redis_tier *tier);

#endif
