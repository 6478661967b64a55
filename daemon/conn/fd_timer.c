/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/fd_timer.h>

#include <sys/timerfd.h>
#include <unistd.h>

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fd_timer *timer = arg;
    uint64_t rung;

    (void)what;
    if (read(fd, &rung, sizeof rung) == sizeof rung)
        timer->on_timeout(timer->arg);
}

bool fd_timer_init(struct fd_timer *timer, struct event_base *base, void (*on_timeout)(void *arg),
                   void *arg)
{
    *timer = (struct fd_timer){.on_timeout = on_timeout, .arg = arg};
    timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer->fd < 0)
        return false;
    event_assign(&timer->event, base, timer->fd, EV_READ | EV_PERSIST, on_readable, timer);
    return event_add(&timer->event, NULL) == 0;
}

void fd_timer_done(struct fd_timer *timer)
{
    if (!event_initialized(&timer->event))
        return;
    event_del(&timer->event);
    close(timer->fd);
}

static struct timespec timespec_of(int64_t us)
{
    return (struct timespec){us / 1000000, us % 1000000 * 1000};
}

void fd_timer_set(struct fd_timer *timer, int64_t delay_us, int64_t interval_us)
{
    /* A delay of 0 would stop it. */
    const struct itimerspec times = {timespec_of(interval_us),
                                     timespec_of(delay_us > 0 ? delay_us : 1)};

    (void)timerfd_settime(timer->fd, 0, &times, NULL);
}
