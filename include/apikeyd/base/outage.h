/* outage: a lasting fault is logged once when it begins and once when it is over.
 *
 * A fault that returns soon is the same outage, so a service that fails and recovers every second
 * is logged once and not a hundred times. Pure: time is a parameter, in microseconds, of one clock
 * that never stands at 0.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OUTAGE_H
#define APIKEYD_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

/* All zeros: no outage. */
struct outage {
    int64_t began_us;
    int64_t well_us; /* no fault has been seen since then; 0: there is one now */
};

/* The fault was seen. True when an outage begins with it. */
bool outage_fails(struct outage *outage, int64_t now_us);

/* The service was seen to work. True, once, when it has worked for `steady_us` without a fault
 * after an outage; sets *ret_lasted_us to the length of the outage. */
bool outage_works(struct outage *outage, int64_t now_us, int64_t steady_us, int64_t *ret_lasted_us);

static inline bool outage_on(const struct outage *outage)
{
    return outage->began_us != 0;
}

#endif
