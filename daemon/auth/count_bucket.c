/* SPDX-License-Identifier: MIT */
#include "count_bucket.h"

#include <apikeyd/ledger/usage_batch.h>

static const int64_t hour_us = INT64_C(3600000000);

/* A clock that is set is noticed by then. */
static const int64_t look_again_us = 10000000;

/* The hours that a tag has room for; hour 0 is none. */
enum { HOUR_MIN = 1, HOUR_MAX = (1 << (COUNT_VERDICT_SHIFT - COUNT_HOUR_SHIFT)) - 1 };

static int64_t reading(const struct front *front)
{
    const struct pg_reading *clock = &front->freshness.inputs.reading;
    int64_t earliest_us = pg_reading_earliest(clock, front->now_us);

    if (!clock->known)
        return front->wall_us;
    return earliest_us + (pg_reading_latest(clock, front->now_us) - earliest_us) / 2;
}

void count_bucket_turn(struct front *front)
{
    const int64_t hours = front->config->usage_counts == USAGE_COUNTS_DAY ? 24 : 1;
    struct count_bucket *bucket = &front->bucket;

    if (front->config->usage_counts == USAGE_COUNTS_OFF) {
        *bucket = (struct count_bucket){.until_us = INT64_MAX};
        return;
    }
    int64_t now_us = reading(front);
    int64_t left_us = hours * hour_us - now_us % (hours * hour_us);
    int64_t hour = (now_us + left_us) / hour_us - hours;

    if (hour < HOUR_MIN)
        hour = HOUR_MIN;
    if (hour > HOUR_MAX)
        hour = HOUR_MAX;
    bucket->hour = (uint32_t)hour;
    bucket->allow_tag = usage_tag(VERDICT_ALLOW, bucket->hour);
    bucket->until_us = front->now_us + (left_us < look_again_us ? left_us : look_again_us);
}
