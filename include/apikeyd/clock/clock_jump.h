/* clock_jump: whether this host's two clocks have parted.
 *
 * Monotonic time (BOOTTIME) measures how old a verdict is and how long the lease runs. A virtual
 * machine that is paused or restored from a snapshot comes back with that clock as it was, while
 * the wall clock is right soon: then everything is older than it seems. The same look sees a wall
 * clock that was set, by hand or by NTP, which does no harm but cannot be told from a pause.
 *
 * Slewing parts them too, by a twelfth at most (chrony's maxslewrate), so an eighth of the time
 * since the last look is no jump. The front thread looks at each read and message, and the monitor
 * sends one each second: a pause is seen if it was longer than the tolerance and an eighth of a
 * second. Time is a parameter.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CLOCK_JUMP_H
#define APIKEYD_CLOCK_JUMP_H

#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_JUMP_TOLERANCE_US = 200000 };

/* Zeros: not looked yet. */
struct clock_jump {
    bool known;
    int64_t monotonic_us, ahead_us; /* the last look, and how far the wall clock was ahead */
};

/* How far the wall clock has moved ahead of the monotonic one (negative: behind) since the last
 * look, in microseconds, or 0 when that is within the tolerance. */
static inline int64_t clock_jump_look(struct clock_jump *clocks, int64_t monotonic_us,
                                      int64_t wall_us)
{
    int64_t ahead_us = wall_us - monotonic_us;
    int64_t parted_us = ahead_us - clocks->ahead_us;
    int64_t max_us = CLOCK_JUMP_TOLERANCE_US + (monotonic_us - clocks->monotonic_us) / 8;
    bool jumped = clocks->known && (parted_us > max_us || parted_us < -max_us);

    *clocks = (struct clock_jump){true, monotonic_us, ahead_us};
    return jumped ? parted_us : 0;
}

#endif
