/* SPDX-License-Identifier: MIT */
#include "notification_rate.h"

void notification_rate_init(struct notification_rate *rate)
{
    *rate = (struct notification_rate){.cleared_us = INT64_MIN};
}

static bool may_clear(const struct notification_rate *rate, int64_t now_us)
{
    return rate->cleared_us == INT64_MIN || now_us - rate->cleared_us >= NOTIFICATION_INTERVAL_US;
}

bool notification_rate_take(struct notification_rate *rate, bool all, int64_t now_us,
                            int64_t *ret_due_us)
{
    if (now_us - rate->interval_began_us >= NOTIFICATION_INTERVAL_US) {
        rate->interval_began_us = now_us;
        rate->taken = 0;
    }
    if (all ? may_clear(rate, now_us) : rate->taken++ < NOTIFICATIONS_MAX)
        return true;
    *ret_due_us = may_clear(rate, now_us) ? now_us : rate->cleared_us + NOTIFICATION_INTERVAL_US;
    return false;
}

void notification_rate_cleared(struct notification_rate *rate, int64_t now_us)
{
    rate->cleared_us = now_us;
}
