/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/outage.h>

bool outage_fails(struct outage *outage, int64_t now_us)
{
    bool begins = !outage_on(outage);

    if (begins)
        outage->began_us = now_us;
    outage->well_us = 0;
    return begins;
}

bool outage_works(struct outage *outage, int64_t now_us, int64_t steady_us, int64_t *ret_lasted_us)
{
    if (!outage_on(outage))
        return false;
    if (outage->well_us == 0)
        outage->well_us = now_us;
    if (now_us - outage->well_us < steady_us)
        return false;
    *ret_lasted_us = outage->well_us - outage->began_us;
    *outage = (struct outage){0};
    return true;
}
