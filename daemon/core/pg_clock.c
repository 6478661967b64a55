/* SPDX-License-Identifier: MIT */
#include "apikeyd/pg_clock.h"

/* Two disciplined clocks part by less than this: 500 ppm each is the most that NTP slews. */
static int64_t drift(int64_t elapsed_us)
{
    return elapsed_us / 1000;
}

static int64_t offset_at(const struct pg_clock *clock, int64_t now_us)
{
    return clock->offset_us + drift(now_us - clock->sampled_at_us);
}

void pg_clock_sample(struct pg_clock *clock, int64_t sent_us, int64_t received_us,
                     int64_t server_us)
{
    int64_t upper = server_us - sent_us;
    int64_t lower = server_us - received_us;
    /* A sample that lies wholly above the bound means that PostgreSQL's clock was set forward. */
    bool contradicts = clock->known && lower > offset_at(clock, received_us);

    if (!clock->known || contradicts || upper <= offset_at(clock, received_us)) {
        clock->known = true;
        clock->offset_us = upper;
        clock->sampled_at_us = received_us;
    }
}

bool pg_clock_to_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us,
                           int64_t *ret_us)
{
    if (!clock->known)
        return false;
    int64_t at_us = server_us - offset_at(clock, now_us);
    *ret_us = at_us < now_us ? at_us : now_us;
    return true;
}
