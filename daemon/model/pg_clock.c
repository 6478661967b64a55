/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/pg_clock.h>

static int64_t drift(int64_t elapsed_us)
{
    return elapsed_us / 8;
}

static int64_t max_at(const struct pg_clock *clock, int64_t now_us)
{
    return clock->max_us + drift(now_us - clock->max_at_us);
}

static int64_t min_at(const struct pg_clock *clock, int64_t now_us)
{
    return clock->min_us - drift(now_us - clock->min_at_us);
}

/* Clocks that are neither set nor slewed part by less than this. */
static int64_t free_drift(int64_t elapsed_us)
{
    return elapsed_us / 1000 + 1000;
}

int64_t pg_clock_sample(struct pg_clock *clock, int64_t sent_us, int64_t received_us,
                        int64_t server_us)
{
    int64_t max_us = server_us - sent_us;
    int64_t min_us = server_us - received_us;
    int64_t forward_us = clock->known ? min_us - max_at(clock, received_us) : 0;
    bool set_forward = forward_us > 0;
    bool set_back =
        clock->known && max_us < clock->min_us - free_drift(received_us - clock->min_at_us);

    if (set_back)
        clock->doubtful_us = received_us + max_at(clock, received_us);
    if (!clock->known || set_forward || set_back || max_us <= max_at(clock, received_us)) {
        clock->max_us = max_us;
        clock->max_at_us = received_us;
    }
    if (!clock->known || set_forward || set_back || min_us >= min_at(clock, received_us)) {
        clock->min_us = min_us;
        clock->min_at_us = received_us;
    }
    clock->known = true;
    clock->sampled_us = received_us;
    return set_forward ? forward_us : 0;
}

bool pg_clock_to_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us,
                           int64_t *ret_us)
{
    if (!clock->known || server_us <= clock->doubtful_us)
        return false;
    int64_t at_us = server_us - max_at(clock, now_us);
    if (at_us > now_us)
        return false;
    *ret_us = at_us - drift(now_us - at_us);
    return true;
}

int64_t pg_clock_latest_reading(const struct pg_clock *clock, int64_t now_us)
{
    return clock->known ? now_us + max_at(clock, now_us) : 0;
}

int64_t pg_clock_latest_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us)
{
    int64_t at_us;

    if (!clock->known || server_us <= clock->doubtful_us)
        return now_us;
    at_us = server_us - min_at(clock, now_us);
    if (at_us >= now_us)
        return now_us;
    return at_us + drift(now_us - at_us);
}

bool pg_clock_estimate(const struct pg_clock *clock, int64_t server_us, int64_t *ret_us)
{
    if (!clock->known)
        return false;
    *ret_us = server_us - clock->min_us - (clock->max_us - clock->min_us) / 2;
    return true;
}
