/* notification_rate: limits how many notifications are handled one by one.
 *
 * Any role of the database may notify, and each notification costs lookups. Few keys change: beyond
 * a rate that is far above that of real changes, notifications count together as one change of all
 * keys, once a second at most. So a made-up flood costs no more than that, and a real change in the
 * flood is a second late at most. Times are monotonic microseconds. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_NOTIFICATION_RATE_H
#define APIKEYD_NOTIFICATION_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NOTIFICATION_INTERVAL_US = 1000000, /* between two changes of everything */
    NOTIFICATIONS_MAX = 2000,           /* keys in such an interval */
};

struct notification_rate {
    int64_t interval_began_us;
    int64_t cleared_us; /* the last change of everything; or INT64_MIN */
    unsigned taken;     /* in this interval */
};

void notification_rate_init(struct notification_rate *rate);

/* Returns whether to handle a notification of one key, or of all, now. If not, a change of
 * everything is due at *ret_due_us. */
bool notification_rate_take(struct notification_rate *rate, bool all, int64_t now_us,
                            int64_t *ret_due_us);

/* Everything counts as changed at `now_us`. */
void notification_rate_cleared(struct notification_rate *rate, int64_t now_us);

#endif
