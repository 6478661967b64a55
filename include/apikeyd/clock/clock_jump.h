/* clock_jump: whether this host's two clocks have parted.
 *
 * Monotonic time (BOOTTIME) measures how old a verdict is and how long the lease runs. A virtual
 * machine that is paused or restored from a snapshot comes back with that clock as it was, while
 * the wall clock is soon right again: then everything is older than it seems. The same check
 * detects a wall clock that was set, by hand or by NTP. That does no harm, but the check cannot
 * distinguish it from a pause.
 *
 * Slewing also parts the clocks, by a twelfth at most (chrony's maxslewrate), so an eighth of the
 * time since the last check is no jump. The front thread checks at each read and message, and the
 * monitor sends a message each second: a pause is detected if it was longer than the tolerance and
 * an eighth of a second. Time is a parameter.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CLOCK_JUMP_H
#define APIKEYD_CLOCK_JUMP_H

#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_JUMP_TOLERANCE_US = 200000 };

/* Zeros: not checked yet. */
struct clock_jump {
    bool known;
    int64_t monotonic_us, ahead_us; /* at the last check; how far the wall clock was ahead */
};

/* Returns how far the wall clock has moved ahead of the monotonic clock (negative: behind) since
 * the last check, in microseconds, or 0 when that is within the tolerance. */
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
