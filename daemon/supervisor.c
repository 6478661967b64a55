/* SPDX-License-Identifier: MIT */
#include "supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include <apikeyd/clock/clock.h>

static const int64_t tick_max_us = 1000000;
static const int64_t tell_interval_us = 5000000;

/* sd_notify(3) has the address: a path, or a name that begins with @. */
static void open_socket(struct supervisor *supervisor)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un *address = &supervisor->address;
    size_t len = name ? strlen(name) : 0;

    if (len < 2 || len >= sizeof address->sun_path || !strchr("/@", name[0]))
        return;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, len);
    if (name[0] == '@')
        address->sun_path[0] = '\0';
    supervisor->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    supervisor->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* False when the supervisor does not take the message now. */
__attribute__((format(printf, 2, 3))) static bool notify(const struct supervisor *supervisor,
                                                         const char *format, ...)
{
    char text[1024];
    va_list args;

    if (supervisor->fd < 0)
        return true;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sendto(supervisor->fd, text, strlen(text), MSG_NOSIGNAL,
                  (const struct sockaddr *)&supervisor->address, supervisor->address_len) >= 0 ||
           errno != EAGAIN;
}

void supervisor_init(struct supervisor *supervisor)
{
    uint64_t watchdog_us;

    *supervisor = (struct supervisor){.tick_us = tick_max_us, .fd = -1};
    open_socket(supervisor);
    /* A ping is due within the time given; a few of them may go missing on a busy machine. */
    if (sd_watchdog_enabled(0, &watchdog_us) > 0 && (int64_t)(watchdog_us / 4) < tick_max_us)
        supervisor->tick_us = (int64_t)(watchdog_us / 4);
}

void supervisor_done(struct supervisor *supervisor)
{
    if (supervisor->fd >= 0)
        close(supervisor->fd);
    supervisor->fd = -1;
}

void supervisor_ready(struct supervisor *supervisor)
{
    supervisor->ready_owed = !notify(supervisor, "READY=1");
}

void supervisor_alive(struct supervisor *supervisor, const struct status_snapshot *snapshot)
{
    int64_t now_us = clock_monotonic_us();
    struct buffer status = {0};

    if (supervisor->ready_owed)
        supervisor_ready(supervisor);
    (void)notify(supervisor, "WATCHDOG=1");
    if (supervisor->told_us != 0 && now_us - supervisor->told_us < tell_interval_us)
        return;
    supervisor->told_us = now_us;
    status_snapshot_print_line(snapshot, &status);
    (void)notify(supervisor, "STATUS=%.*s", (int)status.len, status.data);
    buffer_free(&status);
}

void supervisor_reloading(struct supervisor *supervisor)
{
    (void)notify(supervisor, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                 clock_read_us(CLOCK_MONOTONIC));
}

void supervisor_stopping(struct supervisor *supervisor, int64_t drain_us)
{
    supervisor->ready_owed = false;
    (void)notify(supervisor,
                 "STOPPING=1\nSTATUS=answering what is in flight and writing usage\n"
                 "EXTEND_TIMEOUT_USEC=%" PRId64,
                 drain_us + 10000000);
}
