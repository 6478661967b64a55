/* supervisor: what systemd is told (sd_notify(3)).
 *
 * Ready, reloading, stopping, how it goes, and that both threads are alive. Without systemd
 * nothing is said. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SUPERVISOR_H
#define APIKEYD_SUPERVISOR_H

#include <stdint.h>

#include "apikeyd/overview.h"

struct supervisor {
    int64_t tick_us; /* how often supervisor_alive() should be called */
    int64_t told_us; /* when the status was last told */
};

/* Read what the watchdog expects from the environment. */
void supervisor_init(struct supervisor *supervisor);

void supervisor_ready(void);
void supervisor_alive(struct supervisor *supervisor, const struct overview *overview);
void supervisor_reloading(void);
/* The stop may take so long. */
void supervisor_stopping(int64_t drain_us);

#endif
