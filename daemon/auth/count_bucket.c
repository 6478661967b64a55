/* SPDX-License-Identifier: MIT */
#include <apikeyd/auth/count_bucket.h>

#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/model/month.h>

static const int64_t hour_us = INT64_C(3600000000);

/* A clock that is set is noticed by then. */
static const int64_t look_again_us = 10000000;

/* The hours that a tag has room for; hour 0 is none. */
enum { HOUR_MIN = 1, HOUR_MAX = (1 << (COUNT_VERDICT_SHIFT - COUNT_HOUR_SHIFT)) - 1 };

static int64_t reading(const struct pg_reading *clock, int64_t now_us, int64_t wall_us)
{
    if (!clock->known)
        return wall_us;
    int64_t earliest_us = pg_reading_earliest(clock, now_us);
    return earliest_us + (pg_reading_latest(clock, now_us) - earliest_us) / 2;
}

struct count_bucket count_bucket_at(enum usage_counts counts, const struct pg_reading *clock,
                                    int64_t now_us, int64_t wall_us)
{
    const int64_t hours = counts == USAGE_COUNTS_DAY ? 24 : 1;

    if (counts == USAGE_COUNTS_OFF)
        return (struct count_bucket){.until_us = INT64_MAX};
    int64_t reading_us = reading(clock, now_us, wall_us);
    int64_t left_us = hours * hour_us - reading_us % (hours * hour_us);
    int64_t hour = (reading_us + left_us) / hour_us - hours;

    if (hour < HOUR_MIN)
        hour = HOUR_MIN;
    if (hour > HOUR_MAX)
        hour = HOUR_MAX;
    return (struct count_bucket){
        .until_us = now_us + (left_us < look_again_us ? left_us : look_again_us),
        .allow_tag = usage_tag(VERDICT_ALLOW, (uint32_t)hour),
        .hour = (uint32_t)hour,
        .month = month_of_hour((uint32_t)hour),
    };
}
