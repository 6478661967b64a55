/* signals: the effects of signals to the process.
 *
 * SIGTERM and SIGINT stop, SIGHUP reloads. Signals that operators send to other programs by habit
 * (SIGUSR1, SIGUSR2, SIGALRM and the like) would end the process by default: here these signals
 * change nothing, and each is logged once. SIGQUIT and SIGABRT end the process with a core file, as
 * usual. From signals_hold() on no other signal except SIGKILL ends the daemon, at any time. */
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

/* Call first of all: signals with an effect wait until signals_new(), the others are ignored. First
 * thread. */
void signals_hold(void);

/* Handle signals from now on, waiting ones first. NULL when out of memory or of descriptors. */
struct signals *signals_new(const struct signals_setup *setup);

/* The end is under way: from here on SIGTERM and SIGINT end the process at once, and all other
 * signals wait forever. NULL does nothing. */
void signals_free(struct signals *signals);

#endif
