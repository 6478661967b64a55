/* count_bucket: the hour, or the day, for which uses count now.
 *
 * PostgreSQL's clock says which one it is, as far as its answers tell (pg_reading), else this
 * host's. The tag is made anew when the bucket ends, when more is known of PostgreSQL's clock, and
 * when a clock was set, so that a tick costs one comparison. Pure: times are parameters. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_BUCKET_H
#define APIKEYD_COUNT_BUCKET_H

#include <stdint.h>

#include <apikeyd/config/config.h>
#include <apikeyd/model/pg_reading.h>

struct count_bucket {
    int64_t until_us;   /* monotonic; then it is to be made anew; INT64_MAX: never */
    uint64_t allow_tag; /* of an ALLOW (usage_tag()); 0: uses are not counted */
    uint32_t hour;      /* in which the bucket begins, since 1970; 0: uses are not counted */
    uint32_t month;     /* in which it is, as in month.h */
};

/* The bucket that counts at `now_us` (monotonic), which is `wall_us` by this host's clock. */
struct count_bucket count_bucket_at(enum usage_counts counts, const struct pg_reading *clock,
                                    int64_t now_us, int64_t wall_us);

#endif
