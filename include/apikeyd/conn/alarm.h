/* alarm: a timer that costs the event loop nothing while it waits.
 *
 * libevent looks at the clock in each iteration of the loop while a timer of its own is pending,
 * which is felt where an iteration answers one request. This one is a descriptor
 * (timerfd_create(2)), to be set rarely. Time in which the machine is suspended does not count.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ALARM_H
#define APIKEYD_ALARM_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

struct timer {
    struct event event;
    int fd;
    void (*on_timeout)(void *arg);
    void *arg;
};

/* False when there is no descriptor or no memory for it; timer_done() is due all the same. */
bool timer_init(struct timer *timer, struct event_base *base, void (*on_timeout)(void *arg),
                void *arg);

/* Takes one of zeros too. */
void timer_done(struct timer *timer);

/* Call on_timeout() once `delay_us` from now (at once if that is not positive), then, unless it is
 * 0, every `interval_us`. Calls that were missed are one. */
void timer_set(struct timer *timer, int64_t delay_us, int64_t interval_us);

#endif
