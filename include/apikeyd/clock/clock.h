/* clock: the two clocks that the threads read; pure folders never do. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CLOCK_H
#define APIKEYD_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_read_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t clock_monotonic_us(void)
{
    /* Counts on while the machine is suspended, as the validity of a verdict does. */
    return clock_read_us(CLOCK_BOOTTIME);
}

/* Microseconds since 1970 (UTC). */
static inline int64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

#endif
