/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/pg_reading.h>

static const int64_t unsteady_for_us = 10000000;

static int64_t steady_drift(int64_t elapsed_us)
{
    return elapsed_us / 1000;
}

/* By how much each bound has moved since it was read. */
static int64_t drift(const struct pg_reading *reading, int64_t now_us)
{
    int64_t unsteady_us =
        (now_us < reading->unsteady_us ? now_us : reading->unsteady_us) - reading->at_us;

    if (unsteady_us <= 0)
        return steady_drift(now_us - reading->at_us);
    return unsteady_us / 8 + steady_drift(now_us - reading->at_us - unsteady_us);
}

int64_t pg_reading_earliest(const struct pg_reading *reading, int64_t now_us)
{
    return reading->known ? now_us + reading->min_us - drift(reading, now_us) : INT64_MIN;
}

int64_t pg_reading_latest(const struct pg_reading *reading, int64_t now_us)
{
    return reading->known ? now_us + reading->max_us + drift(reading, now_us) : INT64_MAX;
}

/* Returns whether the bounds, of clocks that run by themselves, leave room for what was told. */
static bool agrees(const struct pg_reading *reading, const struct pg_reading *told)
{
    int64_t wide_us = steady_drift(told->at_us - reading->at_us);

    return told->min_us <= reading->max_us + wide_us && told->max_us >= reading->min_us - wide_us;
}

bool pg_reading_sample(struct pg_reading *reading, int64_t sent_us, int64_t received_us,
                       int64_t server_us)
{
    enum { NEWS_US = 500 };
    struct pg_reading told = {true, server_us - received_us, server_us - sent_us, received_us,
                              reading->unsteady_us};
    int64_t wide_us = drift(reading, received_us);
    int64_t min_us = reading->min_us - wide_us, max_us = reading->max_us + wide_us;
    bool known = reading->known && agrees(reading, &told);

    if (known && told.min_us < min_us)
        told.min_us = min_us;
    if (known && told.max_us > max_us)
        told.max_us = max_us;
    if (reading->known && !known)
        told.unsteady_us = received_us + unsteady_for_us;
    *reading = told;
    return !known || (max_us - told.max_us) + (told.min_us - min_us) > NEWS_US;
}
