/* signals: what a signal to the process means.
 *
 * SIGTERM and SIGINT stop, SIGHUP reloads. Signals that operators send to other programs by habit
 * (SIGUSR1, SIGUSR2, SIGALRM and their like) end a process unless it says otherwise: here they
 * change nothing, and are told once each. SIGQUIT and SIGABRT end the process with a core file, as
 * they should. From signals_hold() on no other signal but SIGKILL ends the daemon, whenever it
 * comes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SIGNALS_H
#define APIKEYD_SIGNALS_H

#include <stdbool.h>

#include <event2/event.h>

#include <apikeyd/base/log.h>

struct signals;

struct signals_setup {
    struct event_base *base;
    const struct log *log; /* both must outlive the signals */
    void (*stop)(void *arg);
    void (*reload)(void *arg);
    void *arg;
};

/* First of all: signals with a meaning wait until signals_new(), the others are ignored. First
 * thread. */
void signals_hold(void);

/* Take signals from now on, those first that have waited. NULL when out of memory. */
struct signals *signals_new(const struct signals_setup *setup);

/* The end is under way: from here on SIGTERM and SIGINT end the process at once, and all others
 * wait for ever. NULL is nothing to do. */
void signals_free(struct signals *signals);

#endif
