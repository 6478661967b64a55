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

struct alarm {
    struct event event;
    int fd;
    void (*rings)(void *arg);
    void *arg;
};

/* False when there is no descriptor or no memory for it; alarm_done() is due all the same. */
bool alarm_init(struct alarm *alarm, struct event_base *base, void (*rings)(void *arg), void *arg);

/* Takes one of zeros too. */
void alarm_done(struct alarm *alarm);

/* Ring once `delay_us` from now (at once if that is not positive), then, unless it is 0, every
 * `interval_us`. Rings that were missed are one. */
void alarm_set(struct alarm *alarm, int64_t delay_us, int64_t interval_us);

#endif
