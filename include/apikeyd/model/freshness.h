/* freshness: whether a verdict was read late enough to be used.
 *
 * Every rule of coherence comes down to that question. This module owns all that the answer depends
 * on: the policy, the change feed's lease, the watermarks of all keys and of each key, jumps of the
 * clocks, whether lookups are answered, and by which store. Setters report events. From these
 * follow a few read times, so that a single comparison judges a verdict. No other module compares
 * read times. All times are monotonic microseconds. One thread owns a struct freshness.
 *
 * The change feed is a lease. A heartbeat sent at `confirmed_us` was answered, so the daemon has
 * heard of every change committed before then: a verdict that is still held was right at that time,
 * however long ago it was read. Freshness ends ttl_unlinked after the later of `confirmed_us` and
 * the read time, whether or not the daemon has noticed that the feed is gone. So the bound holds
 * for a silent network and a stopped process too.
 *
 * The feed counts only while lookups are answered by the store that it listens to. A verdict that
 * was read elsewhere may be older than known changes, however late it was read: until both agree
 * again nothing is served stale.
 *
 * Stale service has a bound of its own. While no heartbeat is confirmed, a watermark that rose
 * because changes may have been missed does not end stale service; only a known-change watermark
 * does. A confirmed heartbeat proves that PostgreSQL answers: then nothing below any watermark is
 * served. When an answer is merely slow, a stale verdict is served only while the daemon hears of
 * every change.
 *
 * An ALLOW holds within its key's window only (key_window). Windows are judged by what PostgreSQL's
 * clock can read now (pg_reading): a key has ended when its end may have come, and has started when
 * its start must have come.
 *
 * Times are valid only while the clock runs. If the clock stood still, as in a paused machine, the
 * lease ends at once, and verdicts that were read before are older than they seem.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FRESHNESS_H
#define APIKEYD_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

#include <apikeyd/model/digest.h>
#include <apikeyd/model/pg_reading.h>
#include <apikeyd/model/verdict.h>

struct freshness_policy {
    int64_t ttl_us;          /* of ALLOW and DENY inactive while the change feed is up */
    int64_t ttl_unlinked_us; /* upper bound of every ttl while it is not */
    int64_t negative_ttl_us; /* of DENY unknown */
    int64_t stale_max_us;    /* the maximum age of a verdict served because no store answers */
    bool windowless;         /* keys have no windows: nothing is judged by PostgreSQL's clock */
};

/* The events so far, except changes of single keys. The back thread receives the events and sends
 * the front thread a copy: both threads judge. Only the setters below write this struct. */
struct freshness_inputs {
    int64_t confirmed_us; /* every change committed before then is known; or TIME_NEVER */
    int64_t
        watermark_us; /* missed changes, if any, are older; later reads see them; or TIME_NEVER */
    /* The known-change watermark, which bounds stale service too: any key was changed, or an
     * operator invalidated all. Not later than watermark_us, or TIME_NEVER. */
    int64_t known_watermark_us;
    bool notified;             /* triggers notify of every change */
    bool elsewhere;            /* lookups were answered by another store than the feed's */
    bool lookups_down;         /* PostgreSQL is known not to answer lookups */
    int64_t jumped_us;         /* the clocks parted then, … */
    int64_t lost_us;           /* … and verdicts read before are this much older than they seem */
    struct pg_reading reading; /* of PostgreSQL's clock; not known if nothing needs it */
};

/* The read times that follow from policy and inputs at `now_us`. */
struct freshness_limits {
    int64_t now_us;
    bool linked;
    int64_t oldest_us;         /* ALLOW and DENY inactive read before this are not fresh */
    int64_t oldest_unknown_us; /* the same for DENY unknown */
    int64_t oldest_stale_us;   /* read before this: not served even when no store answers… */
    int64_t oldest_at_soft_timeout_us; /* … read before this: nor after postgres.soft_timeout */
    int64_t refresh_us;                /* read before this: in the last fifth of their ttl */
    int64_t ttl_us, unknown_ttl_us; /* in force now: of ALLOW and DENY inactive, of DENY unknown */
    int64_t pg_earliest_us, pg_latest_us; /* bounds of PostgreSQL's clock: INT64_MIN and INT64_MAX
                                           * while it is not known */
};

struct freshness_limits freshness_limits_at(const struct freshness_policy *policy,
                                            const struct freshness_inputs *inputs, int64_t now_us);

struct watermarks;

/* Other modules read `inputs`, to send them, and `limits`, for the cache. */
struct freshness {
    struct freshness_policy policy;
    struct freshness_inputs inputs;
    struct freshness_limits limits; /* from both, at the time of the last tick */
    struct watermarks *keys;        /* NULL: changes of single keys are not watched */
};

/* Start without any event. Free with freshness_done(). */
void freshness_init(struct freshness *freshness, const struct freshness_policy *policy);
void freshness_done(struct freshness *freshness);

/* Watch changes of single keys. The back thread does; the front thread only if keys have several
 * digests: a message removes the verdict that the changed digest names, but not one whose key has
 * that digest beside its first. Changes before this call are not known. False when out of
 * memory. */
__attribute__((warn_unused_result)) bool freshness_watch_keys(struct freshness *freshness);

/* Setters: verdicts are judged accordingly from now on. */

void freshness_set_policy(struct freshness *freshness, const struct freshness_policy *policy);

/* The daemon has heard of every change that was committed before `sent_us`. False, and nothing is
 * confirmed, when `sent_us` is before a jump of the clocks: its age is unknown. */
bool freshness_feed_confirmed(struct freshness *freshness, int64_t sent_us);

/* `all`: the feed tells of every change, not only of some. */
void freshness_feed_tells_all(struct freshness *freshness, bool all);

/* Changes that were committed before `at_us` may have been missed: every verdict is read again. */
void freshness_changes_may_be_missing(struct freshness *freshness, int64_t at_us);

/* Every key, or this one, may have changed before `at_us`: verdicts read earlier must not be used,
 * not even stale. For one key this covers verdicts from any tier, however late they arrive, and
 * does nothing unless keys are watched. */
void freshness_everything_changed(struct freshness *freshness, int64_t at_us);
void freshness_key_changed(struct freshness *freshness, const struct digest *digest, int64_t at_us);

/* Another store than the feed's answered a lookup. True if that is new. */
bool freshness_lookups_elsewhere(struct freshness *freshness);

/* Lookups are answered by the feed's store, as of `at_us`. If they were not before, the verdicts
 * from elsewhere cannot be identified, so everything has changed. */
void freshness_lookups_agree(struct freshness *freshness, int64_t at_us);

void freshness_lookups_down(struct freshness *freshness, bool down);

/* The clocks parted by `jump_us` (see clock_jump.h), detected at `at_us`: confirmations before then
 * do not count, and verdicts read before then are read again. A second call changes nothing.
 */
void freshness_clocks_jumped(struct freshness *freshness, int64_t at_us, int64_t jump_us);

/* PostgreSQL's clock was read: pg_reading_sample(). Returns whether the other thread should know.
 */
bool freshness_clock_read(struct freshness *freshness, int64_t sent_us, int64_t received_us,
                          int64_t server_us);

/* Take the inputs by which the other thread judges. The inputs may be older than a jump that only
 * this thread has seen.
 */
void freshness_follow(struct freshness *freshness, const struct freshness_inputs *inputs);

/* Verdicts are judged as of `now_us` until the next tick. */
void freshness_tick(struct freshness *freshness, int64_t now_us);

/* The uses of a verdict. Each value includes the ones before it. */
enum freshness_use {
    USE_NEVER,   /* read too long ago, or before a change */
    USE_IF_DOWN, /* stale: used when no store answers */
    USE_IF_SLOW, /* stale: used also when an answer takes longer than postgres.soft_timeout */
    USE_NOW,     /* fresh */
};

/* Returns the best use of a verdict of `kind` that was read at `read_at_us`. A change announced by
 * any of the key's digests counts. `digests` NULL: the key has not changed. */
enum freshness_use freshness_of(const struct freshness *freshness, const struct digests *digests,
                                enum verdict_kind kind, int64_t read_at_us);

/* Returns whether a change of the key after `read_at_us` is known. */
bool freshness_outdated(const struct freshness *freshness, const struct digests *digests,
                        int64_t read_at_us);

/* Returns the time before which reads of the key are not fresh, or TIME_NEVER. For people. */
int64_t freshness_watermark(const struct freshness *freshness, const struct digests *digests);

/* Returns whether every change that was committed before `since_us` is known. */
bool freshness_confirmed_since(const struct freshness *freshness, int64_t since_us);

/* Returns the time before which every committed change is known, or TIME_NEVER. */
static inline int64_t freshness_confirmed_until(const struct freshness *freshness)
{
    return freshness->inputs.confirmed_us;
}

/* Returns whether the lease runs, and the feed's store answers lookups. */
static inline bool freshness_linked(const struct freshness *freshness)
{
    return freshness->limits.linked;
}

/* Returns whether the daemon hears of every change as it is committed. */
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

/* For paths on which every instruction counts: the same comparisons, by limits alone. */

/* Returns whether a read at `read_at_us` saw every change committed before `since_us`. */
static inline bool freshness_read_since(int64_t read_at_us, int64_t since_us)
{
    return read_at_us >= since_us;
}

/* Returns the oldest fresh read time for a verdict of `kind`. */
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

/* Returns whether a fresh verdict should be read again before its ttl ends. Never for DENY unknown,
 * which is not worth it. */
static inline bool freshness_refresh_due(const struct freshness_limits *limits,
                                         enum verdict_kind kind, int64_t read_at_us)
{
    return read_at_us < limits->refresh_us && kind != VERDICT_DENY_UNKNOWN;
}

/* Returns whether the windows of keys can be judged. */
static inline bool freshness_knows_clock(const struct freshness_limits *limits)
{
    return limits->pg_latest_us != INT64_MAX;
}

/* Returns the verdict that holds now: an ALLOW outside of its window is a DENY, and UNAVAILABLE
 * while PostgreSQL's clock is not known. A key whose window ends before it starts is early first,
 * then expired. */
static inline enum verdict_kind freshness_kind(const struct freshness_limits *limits,
                                               enum verdict_kind kind,
                                               const struct key_window *window)
{
    if (kind != VERDICT_ALLOW || !key_window_some(window))
        return kind;
    if (!freshness_knows_clock(limits))
        return VERDICT_UNAVAILABLE;
    if (window->end_us != 0 && window->end_us <= limits->pg_latest_us)
        return VERDICT_DENY_EXPIRED;
    return window->start_us > limits->pg_earliest_us ? VERDICT_DENY_EARLY : VERDICT_ALLOW;
}

/* Returns how long a verdict of `kind` read at `read_at_us` stays fresh if nothing happens;
 * negative: for how long it has not been fresh. */
static inline int64_t freshness_left(const struct freshness_limits *limits, enum verdict_kind kind,
                                     int64_t read_at_us)
{
    int64_t ttl_us = kind == VERDICT_DENY_UNKNOWN ? limits->unknown_ttl_us : limits->ttl_us;
    int64_t over_us = read_at_us - freshness_oldest(limits, kind);

    return over_us < 0 ? over_us : read_at_us + ttl_us - limits->now_us;
}

#endif
