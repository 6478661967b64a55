/* supervisor: messages to systemd (sd_notify(3)).
 *
 * The messages are: ready, reloading, stopping, a status line, and that both threads are alive.
 * Without systemd none is sent. A supervisor that stands still and reads nothing blocks no thread,
 * unlike with sd_notify() itself: a message that it does not take is lost, except READY=1, which is
 * sent again. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SUPERVISOR_H
#define APIKEYD_SUPERVISOR_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <apikeyd/observe/status_snapshot.h>

struct supervisor {
    int64_t tick_us; /* how often supervisor_alive() should be called */
    int64_t told_us; /* when the status line was last sent */
    int fd;          /* -1: there is none to talk to */
    struct sockaddr_un address;
    socklen_t address_len;
    bool ready_owed; /* READY=1 is still to be sent */
};

/* Read the supervisor's expectations from the environment. */
void supervisor_init(struct supervisor *supervisor);
void supervisor_done(struct supervisor *supervisor);

void supervisor_ready(struct supervisor *supervisor);
void supervisor_alive(struct supervisor *supervisor, const struct status_snapshot *snapshot);
void supervisor_reloading(struct supervisor *supervisor);
/* The stop may take `drain_us`. */
void supervisor_stopping(struct supervisor *supervisor, int64_t drain_us);

#endif
