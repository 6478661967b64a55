/* fd_timer: a timer that costs the event loop nothing while it waits.
 *
 * libevent reads the clock in each iteration of the loop while one of its own timers is pending.
 * That is a measurable cost when an iteration answers one request. This timer is a descriptor
 * (timerfd_create(2)), meant to be set rarely. Time in which the machine is suspended does not
 * count.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FD_TIMER_H
#define APIKEYD_FD_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

struct fd_timer {
    struct event event;
    int fd;
    void (*on_timeout)(void *arg);
    void *arg;
};

/* False when descriptors or memory are short; call fd_timer_done() all the same. */
bool fd_timer_init(struct fd_timer *timer, struct event_base *base, void (*on_timeout)(void *arg),
                   void *arg);

/* Accepts a zeroed timer too. */
void fd_timer_done(struct fd_timer *timer);

/* Call on_timeout() once `delay_us` from now (at once if that is not positive), then, unless it is
 * 0, every `interval_us`. Missed calls are merged into one. */
void fd_timer_set(struct fd_timer *timer, int64_t delay_us, int64_t interval_us);

#endif
