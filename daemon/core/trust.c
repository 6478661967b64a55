/* SPDX-License-Identifier: MIT */
#include "apikeyd/trust.h"

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct trust trust_at(const struct trust_policy *policy, bool link_up, int64_t floor_us,
                      int64_t now_us)
{
    int64_t bound_us = link_up ? INT64_MAX : policy->ttl_unlinked_us;
    int64_t ttl_us = sooner(policy->ttl_us, bound_us);
    int64_t negative_ttl_us = sooner(policy->negative_ttl_us, bound_us);

    return (struct trust){
        .now_us = now_us,
        .oldest_us = later(floor_us, now_us - ttl_us),
        .oldest_unknown_us = later(floor_us, now_us - negative_ttl_us),
        .oldest_stale_us = later(floor_us, now_us - policy->stale_max_us),
        .refresh_us = now_us - ttl_us + ttl_us / 5,
    };
}
