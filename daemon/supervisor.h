/* supervisor: what systemd is told (sd_notify(3)).
 *
 * Ready, reloading, stopping, how it goes, and that both threads are alive. Without systemd
 * nothing is said. A supervisor that stands still and reads nothing holds up nobody, unlike with
 * sd_notify() itself: what it does not take is lost, but for READY=1, which is said again. Back
 * thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SUPERVISOR_H
#define APIKEYD_SUPERVISOR_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <apikeyd/observe/status_snapshot.h>

struct supervisor {
    int64_t tick_us; /* how often supervisor_alive() should be called */
    int64_t told_us; /* when the status was last told */
    int fd;          /* -1: there is none to talk to */
    struct sockaddr_un address;
    socklen_t address_len;
    bool ready_owed; /* it is not known yet that the daemon is ready */
};

/* Read what the supervisor expects from the environment. */
void supervisor_init(struct supervisor *supervisor);
void supervisor_done(struct supervisor *supervisor);

void supervisor_ready(struct supervisor *supervisor);
void supervisor_alive(struct supervisor *supervisor, const struct status_snapshot *snapshot);
void supervisor_reloading(struct supervisor *supervisor);
/* The stop may take so long. */
void supervisor_stopping(struct supervisor *supervisor, int64_t drain_us);

#endif
