/* trust: which read times are believed now.
 *
 * Every rule of coherence comes down to one question about a verdict: was PostgreSQL read late
 * enough? A ttl, the shorter ttl without a link, and the floor after a missed notification all
 * become one "oldest" time, so that looking up a verdict is a single comparison.
 * All times are monotonic microseconds.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRUST_H
#define APIKEYD_TRUST_H

#include <stdbool.h>
#include <stdint.h>

#include "apikeyd/verdict.h"

#define TIME_NEVER INT64_MIN /* earlier than every read time */

struct trust_policy {
    int64_t ttl_us;          /* of ALLOW and DENY inactive while the link is up */
    int64_t ttl_unlinked_us; /* upper bound of every ttl while it is not */
    int64_t negative_ttl_us; /* of DENY unknown */
    int64_t stale_max_us;    /* how old a verdict may be that is served because no store answers */
};

struct trust {
    int64_t now_us;
    int64_t oldest_us;         /* ALLOW and DENY inactive read before this are not believed */
    int64_t oldest_unknown_us; /* the same for DENY unknown */
    int64_t oldest_stale_us;   /* read before this are not served even when no store answers */
    int64_t refresh_us;        /* read before this are in the last fifth of their ttl */
};

/* What is believed at `now_us`. `floor_us` is TIME_NEVER when nothing was missed. */
struct trust trust_at(const struct trust_policy *policy, bool link_up, int64_t floor_us,
                      int64_t now_us);

/* The oldest believed read time for a verdict of `kind`. */
static inline int64_t trust_oldest(const struct trust *trust, enum verdict_kind kind)
{
    return kind == VERDICT_DENY_UNKNOWN ? trust->oldest_unknown_us : trust->oldest_us;
}

#endif
