/* freshness: which read times are late enough now.
 *
 * Every rule of coherence comes down to one question about a verdict: was PostgreSQL read late
 * enough? A ttl, the change feed and the watermark all become one "oldest" time, so that looking up
 * a verdict is a single comparison. All times are monotonic microseconds.
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

#include <apikeyd/model/verdict.h>

#define TIME_NEVER INT64_MIN /* earlier than every read time */

struct freshness_policy {
    int64_t ttl_us;          /* of ALLOW and DENY inactive while the change feed is up */
    int64_t ttl_unlinked_us; /* upper bound of every ttl while it is not */
    int64_t negative_ttl_us; /* of DENY unknown */
    int64_t stale_max_us;    /* how old a verdict may be that is served because no store answers */
};

/* What freshness is judged by: the back thread knows it, and both threads judge. */
struct freshness_inputs {
    int64_t confirmed_us; /* changes committed before then have been heard of; or TIME_NEVER */
    int64_t watermark_us; /* changes may have been missed that later reads know; or TIME_NEVER */
    /* Any key was changed, or all shall be forgotten: a watermark for what is served stale too. Not
     * later than watermark_us, or TIME_NEVER. */
    int64_t known_watermark_us;
    bool notified;      /* triggers tell of every change */
    bool elsewhere;     /* lookups were answered by another store than the feed's */
    bool postgres_down; /* known not to answer lookups */
    int64_t jumped_us;  /* the clocks parted then, … */
    int64_t lost_us;    /* … and what was read before is so much older than it seems */
};

static const struct freshness_inputs no_freshness_inputs = {
    .confirmed_us = TIME_NEVER, .watermark_us = TIME_NEVER, .known_watermark_us = TIME_NEVER};

/* A heartbeat that was sent at `sent_us` was answered. One from before a jump of the clocks
 * confirms nothing: nobody can tell how long ago that was. */
void freshness_confirm(struct freshness_inputs *inputs, int64_t sent_us);

/* The clocks parted by `jump_us` (see clock_jump.h), as was seen at `now_us`: what was confirmed
 * before then is not, and what was read before then is read again. Doing so twice changes nothing.
 */
void freshness_jump(struct freshness_inputs *inputs, int64_t now_us, int64_t jump_us);

struct freshness {
    int64_t now_us;
    bool linked;
    int64_t oldest_us;         /* ALLOW and DENY inactive read before this are not fresh */
    int64_t oldest_unknown_us; /* the same for DENY unknown */
    int64_t oldest_stale_us;   /* read before this are not served even when no store answers… */
    int64_t oldest_at_soft_timeout_us; /* …nor before this after postgres.soft_timeout */
    int64_t refresh_us;                /* read before this are in the last fifth of their ttl */
    int64_t ttl_us, unknown_ttl_us; /* in force now: of ALLOW and DENY inactive, of DENY unknown */
};

/* What is fresh at `now_us`. */
struct freshness freshness_at(const struct freshness_policy *policy,
                              const struct freshness_inputs *inputs, int64_t now_us);

/* The oldest fresh read time for a verdict of `kind`. */
static inline int64_t freshness_oldest(const struct freshness *freshness, enum verdict_kind kind)
{
    return kind == VERDICT_DENY_UNKNOWN ? freshness->oldest_unknown_us : freshness->oldest_us;
}

/* How long a verdict of `kind` read at `read_at_us` stays fresh if nothing happens; negative: since
 * when it is not. */
static inline int64_t freshness_left(const struct freshness *freshness, enum verdict_kind kind,
                                     int64_t read_at_us)
{
    int64_t ttl_us = kind == VERDICT_DENY_UNKNOWN ? freshness->unknown_ttl_us : freshness->ttl_us;
    int64_t over_us = read_at_us - freshness_oldest(freshness, kind);

    return over_us < 0 ? over_us : read_at_us + ttl_us - freshness->now_us;
}

#endif
