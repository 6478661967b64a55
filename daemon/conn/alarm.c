/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/alarm.h>

#include <sys/timerfd.h>
#include <unistd.h>

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct alarm *alarm = arg;
    uint64_t rung;

    (void)what;
    if (read(fd, &rung, sizeof rung) == sizeof rung)
        alarm->rings(alarm->arg);
}

bool alarm_init(struct alarm *alarm, struct event_base *base, void (*rings)(void *arg), void *arg)
{
    *alarm = (struct alarm){.rings = rings, .arg = arg};
    alarm->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (alarm->fd < 0)
        return false;
    event_assign(&alarm->event, base, alarm->fd, EV_READ | EV_PERSIST, on_readable, alarm);
    return event_add(&alarm->event, NULL) == 0;
}

void alarm_done(struct alarm *alarm)
{
    if (!event_initialized(&alarm->event))
        return;
    event_del(&alarm->event);
    close(alarm->fd);
}

static struct timespec timespec_of(int64_t us)
{
    return (struct timespec){us / 1000000, us % 1000000 * 1000};
}

void alarm_set(struct alarm *alarm, int64_t delay_us, int64_t interval_us)
{
    /* A delay of 0 would stop it. */
    const struct itimerspec times = {timespec_of(interval_us),
                                     timespec_of(delay_us > 0 ? delay_us : 1)};

    (void)timerfd_settime(alarm->fd, 0, &times, NULL);
}
