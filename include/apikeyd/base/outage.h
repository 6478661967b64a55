/* outage: a fault that lasts is told once when it begins and once when it is over.
 *
 * A fault that comes back before its absence has lasted for a while is the same outage, so that
 * what fails and recovers every second is told once and not a hundred times. Pure: time is a
 * parameter, in microseconds, of one clock that never stands at 0.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OUTAGE_H
#define APIKEYD_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

/* All zeros: there is none. */
struct outage {
    int64_t began_us;
    int64_t well_us; /* no fault has been seen since then; 0: there is one now */
};

/* The fault was seen. True when an outage begins with it. */
bool outage_fails(struct outage *outage, int64_t now_us);

/* The thing was seen at work. True, once, when it has worked for `steady_us` without a fault after
 * an outage; sets *ret_lasted_us to how long that was. */
bool outage_works(struct outage *outage, int64_t now_us, int64_t steady_us, int64_t *ret_lasted_us);

static inline bool outage_on(const struct outage *outage)
{
    return outage->began_us != 0;
}

#endif
