/* freshness: whether a verdict was read late enough to be used.
 *
 * Every rule of coherence comes down to that question. This module owns all that the answer depends
 * on: the policy, the change feed's lease, the watermarks of all keys and of each key, jumps of the
 * clocks, whether lookups are answered, and by which store. Setters say what has happened. A few
 * read times follow from it, so that a verdict is judged by a single comparison. No other module
 * compares read times. All times are monotonic microseconds. One thread owns a struct freshness.
 *
 * The change feed is a lease. A heartbeat sent at `confirmed_us` was answered, so every change
 * committed before then has been heard of: what is still held was right at that time, however long
 * ago it was read. Freshness ends ttl_unlinked after the later of the two, whether or not anybody
 * has noticed that the feed is gone. So the bound holds for a silent network and a stopped process
 * too.
 *
 * The feed counts only while lookups are answered by the store that it listens to. What was read
 * elsewhere may be older than changes that were heard of, however late it was read: until both
 * agree again nothing is served stale.
 *
 * What may be served stale is another question, with a bound of its own. While no heartbeat is
 * confirmed, a watermark that rose because changes may have been missed does not end it, only one
 * for changes that are known. A confirmed heartbeat proves that PostgreSQL answers: then nothing
 * below any watermark is served. A slow answer, which is no error, is replaced by what is held only
 * while every change is heard of.
 *
 * Times are worth something only while the clock runs. If it stood still, as in a paused machine,
 * the lease ends at once, and what was read before is older than it seems.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FRESHNESS_H
#define APIKEYD_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

#include <apikeyd/model/digest.h>
#include <apikeyd/model/verdict.h>

struct freshness_policy {
    int64_t ttl_us;          /* of ALLOW and DENY inactive while the change feed is up */
    int64_t ttl_unlinked_us; /* upper bound of every ttl while it is not */
    int64_t negative_ttl_us; /* of DENY unknown */
    int64_t stale_max_us;    /* how old a verdict may be that is served because no store answers */
};

/* The events so far, but for changes of single keys. The back thread hears of them and sends the
 * front thread a copy: both judge. Only the setters below write it. */
struct freshness_inputs {
    int64_t confirmed_us; /* changes committed before then have been heard of; or TIME_NEVER */
    int64_t watermark_us; /* changes may have been missed that later reads know; or TIME_NEVER */
    /* Any key was changed, or all shall be forgotten: a watermark for what is served stale too. Not
     * later than watermark_us, or TIME_NEVER. */
    int64_t known_watermark_us;
    bool notified;     /* triggers tell of every change */
    bool elsewhere;    /* lookups were answered by another store than the feed's */
    bool lookups_down; /* PostgreSQL is known not to answer them */
    int64_t jumped_us; /* the clocks parted then, … */
    int64_t lost_us;   /* … and what was read before is so much older than it seems */
};

/* The read times that follow from policy and inputs at `now_us`. */
struct freshness_limits {
    int64_t now_us;
    bool linked;
    int64_t oldest_us;         /* ALLOW and DENY inactive read before this are not fresh */
    int64_t oldest_unknown_us; /* the same for DENY unknown */
    int64_t oldest_stale_us;   /* read before this are not served even when no store answers… */
    int64_t oldest_at_soft_timeout_us; /* …nor before this after postgres.soft_timeout */
    int64_t refresh_us;                /* read before this are in the last fifth of their ttl */
    int64_t ttl_us, unknown_ttl_us; /* in force now: of ALLOW and DENY inactive, of DENY unknown */
};

struct freshness_limits freshness_limits_at(const struct freshness_policy *policy,
                                            const struct freshness_inputs *inputs, int64_t now_us);

struct watermarks;

/* Other modules read `inputs`, to send them, and `limits`, for the cache. */
struct freshness {
    struct freshness_policy policy;
    struct freshness_inputs inputs;
    struct freshness_limits limits; /* by both, at the time of the last tick */
    struct watermarks *keys;        /* NULL: changes of single keys are not heard of here */
};

/* Nothing has been heard of yet. Free with freshness_done(). */
void freshness_init(struct freshness *freshness, const struct freshness_policy *policy);
void freshness_done(struct freshness *freshness);

/* Changes of single keys will be heard of: on the back thread. The front thread has no need of
 * them, as messages remove what they forbid. False when out of memory. */
__attribute__((warn_unused_result)) bool freshness_watch_keys(struct freshness *freshness);

/* Setters: verdicts are judged by what they say from now on. */

void freshness_set_policy(struct freshness *freshness, const struct freshness_policy *policy);

/* Every change that was committed before `sent_us` has been heard of. False, and nothing is
 * confirmed, when that was before a jump of the clocks: nobody can tell how long ago. */
bool freshness_feed_confirmed(struct freshness *freshness, int64_t sent_us);

/* Whether the feed tells of every change, or of some. */
void freshness_feed_tells_all(struct freshness *freshness, bool all);

/* Changes that were committed before `at_us` may not have been heard of: all is read again. */
void freshness_changes_may_be_missing(struct freshness *freshness, int64_t at_us);

/* Every key, or this one, may have changed before `at_us`: what was read earlier is not to be used,
 * stale neither. Of a key: wherever its verdict comes from and however late. */
void freshness_everything_changed(struct freshness *freshness, int64_t at_us);
void freshness_key_changed(struct freshness *freshness, const struct digest *digest, int64_t at_us);

/* A lookup was answered by another store than the feed's. True if that is news. */
bool freshness_lookups_elsewhere(struct freshness *freshness);

/* Lookups are answered by the feed's store, as of `at_us`. If they were not, nobody can tell which
 * verdicts are from elsewhere, and everything has changed. */
void freshness_lookups_agree(struct freshness *freshness, int64_t at_us);

void freshness_lookups_down(struct freshness *freshness, bool down);

/* The clocks parted by `jump_us` (see clock_jump.h), as was seen at `at_us`: what was confirmed
 * before then is not, and what was read before then is read again. Doing so twice changes nothing.
 */
void freshness_clocks_jumped(struct freshness *freshness, int64_t at_us, int64_t jump_us);

/* The other thread judges by these. They may be older than a jump that only this thread has seen.
 */
void freshness_follow(struct freshness *freshness, const struct freshness_inputs *inputs);

/* It is `now_us`: verdicts are judged as of then until the next tick. */
void freshness_tick(struct freshness *freshness, int64_t now_us);

/* The uses of a verdict. Each includes the ones before it. */
enum freshness_use {
    USE_NEVER,   /* read too long ago, or before a change */
    USE_IF_DOWN, /* stale: when no store answers */
    USE_IF_SLOW, /* stale: also when one takes longer than postgres.soft_timeout */
    USE_NOW,     /* fresh */
};

/* The best use of a verdict of `kind` that was read at `read_at_us`. With `digest` NULL, of a key
 * that has not changed. */
enum freshness_use freshness_of(const struct freshness *freshness, const struct digest *digest,
                                enum verdict_kind kind, int64_t read_at_us);

/* Whether the key has changed since it was read at `read_at_us`, as far as has been heard of. */
bool freshness_outdated(const struct freshness *freshness, const struct digest *digest,
                        int64_t read_at_us);

/* Verdicts of the key that were read before this are not fresh; or TIME_NEVER. For people. */
int64_t freshness_watermark(const struct freshness *freshness, const struct digest *digest);

/* Whether every change that was committed before `since_us` has been heard of. */
bool freshness_confirmed_since(const struct freshness *freshness, int64_t since_us);

/* Every change that was committed before this has been heard of; or TIME_NEVER. */
static inline int64_t freshness_confirmed_until(const struct freshness *freshness)
{
    return freshness->inputs.confirmed_us;
}

/* Whether the lease runs, and lookups are answered by the feed's store. */
static inline bool freshness_linked(const struct freshness *freshness)
{
    return freshness->limits.linked;
}

/* Whether every change is heard of as it is committed. */
static inline bool freshness_hears_all(const struct freshness *freshness)
{
    return freshness->limits.linked && freshness->inputs.notified;
}

static inline bool freshness_is_elsewhere(const struct freshness *freshness)
{
    return freshness->inputs.elsewhere;
}

static inline bool freshness_no_lookups(const struct freshness *freshness)
{
    return freshness->inputs.lookups_down;
}

/* For paths on which every instruction counts: the same comparisons, of limits alone. */

/* Whether a read at `read_at_us` saw all that was committed before `since_us`. */
static inline bool freshness_read_since(int64_t read_at_us, int64_t since_us)
{
    return read_at_us >= since_us;
}

/* The oldest fresh read time for a verdict of `kind`. */
static inline int64_t freshness_oldest(const struct freshness_limits *limits,
                                       enum verdict_kind kind)
{
    return kind == VERDICT_DENY_UNKNOWN ? limits->oldest_unknown_us : limits->oldest_us;
}

static inline bool freshness_is_fresh(const struct freshness_limits *limits, enum verdict_kind kind,
                                      int64_t read_at_us)
{
    return read_at_us >= freshness_oldest(limits, kind);
}

/* Whether a fresh verdict is to be read again before its ttl ends. DENY unknown is not worth it. */
static inline bool freshness_refresh_due(const struct freshness_limits *limits,
                                         enum verdict_kind kind, int64_t read_at_us)
{
    return read_at_us < limits->refresh_us && kind != VERDICT_DENY_UNKNOWN;
}

/* How long a verdict of `kind` read at `read_at_us` stays fresh if nothing happens; negative: since
 * when it is not. */
static inline int64_t freshness_left(const struct freshness_limits *limits, enum verdict_kind kind,
                                     int64_t read_at_us)
{
    int64_t ttl_us = kind == VERDICT_DENY_UNKNOWN ? limits->unknown_ttl_us : limits->ttl_us;
    int64_t over_us = read_at_us - freshness_oldest(limits, kind);

    return over_us < 0 ? over_us : read_at_us + ttl_us - limits->now_us;
}

#endif
