/* SPDX-License-Identifier: MIT */
#include "apikeyd/supervisor.h"

#include <inttypes.h>

#include <systemd/sd-daemon.h>

#include "apikeyd/clock.h"

static const int64_t tick_most_us = 1000000;
static const int64_t tell_interval_us = 5000000;

void supervisor_init(struct supervisor *supervisor)
{
    uint64_t watchdog_us;

    *supervisor = (struct supervisor){.tick_us = tick_most_us};
    /* A ping is due within the time given; a few of them may go missing on a busy machine. */
    if (sd_watchdog_enabled(0, &watchdog_us) > 0 && (int64_t)(watchdog_us / 4) < tick_most_us)
        supervisor->tick_us = (int64_t)(watchdog_us / 4);
}

void supervisor_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

void supervisor_alive(struct supervisor *supervisor, const struct overview *overview)
{
    int64_t now_us = clock_monotonic_us();
    struct buffer status = {0};

    (void)sd_notify(0, "WATCHDOG=1");
    if (supervisor->told_us != 0 && now_us - supervisor->told_us < tell_interval_us)
        return;
    supervisor->told_us = now_us;
    overview_print_line(overview, &status);
    (void)sd_notifyf(0, "STATUS=%.*s", (int)status.len, status.data);
    buffer_free(&status);
}

void supervisor_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_read_us(CLOCK_MONOTONIC));
}

void supervisor_stopping(int64_t drain_us)
{
    (void)sd_notifyf(0,
                     "STOPPING=1\nSTATUS=answering what is in flight and writing usage\n"
                     "EXTEND_TIMEOUT_USEC=%" PRId64,
                     drain_us + 10000000);
}
