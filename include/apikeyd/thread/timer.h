/* timer: libevent's timers, set in microseconds.
 *
 * A timer is a struct event of the caller's, assigned to its loop with event_assign() and removed
 * with event_del(). Setting a timer that is already set moves it. The loop's thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TIMER_H
#define APIKEYD_TIMER_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>

#include <event2/event.h>

#include <apikeyd/base/backoff.h>

/* Fires once `delay_us` from now (at once if that is not positive), with EV_PERSIST each
 * `delay_us`. */
static inline void timer_start(struct event *timer, int64_t delay_us)
{
    int64_t us = delay_us > 0 ? delay_us : 0;
    const struct timeval delay = {us / 1000000, us % 1000000};

    event_add(timer, &delay);
}

/* A service failed: fires when the next try is due, later each time. */
static inline void timer_retry(struct event *timer, struct backoff *backoff)
{
    timer_start(timer, backoff_next(backoff, arc4random()));
}

#endif
