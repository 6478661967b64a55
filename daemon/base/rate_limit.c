/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/rate_limit.h>

static const int64_t second_us = 1000000;

bool rate_limit_take(struct rate_limit *limit, size_t per_second, int64_t now_us,
                     int64_t *ret_wait_us)
{
    int64_t last_us = limit->at_us[(limit->next + RATE_LIMIT_MAX - per_second) % RATE_LIMIT_MAX];

    if (last_us != 0 && last_us + second_us > now_us) {
        *ret_wait_us = last_us + second_us - now_us;
        return false;
    }
    limit->at_us[limit->next] = now_us;
    limit->next = (limit->next + 1) % RATE_LIMIT_MAX;
    return true;
}
