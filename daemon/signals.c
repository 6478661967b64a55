/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <event2/event_struct.h>

/* The kernel sends these where a call here returns an error (EPIPE, EFBIG), or for writing to a
 * terminal in the background. */
static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU};

static const int told[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
                           SIGIO,   SIGPWR,  SIGXCPU, SIGSTKFLT};

static const int stops[] = {SIGTERM, SIGINT};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct signals {
    struct signals_setup setup;
    struct event event;
    int fd;
    sigset_t seen; /* and told */
};

static void add_all(sigset_t *set, const int *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sigaddset(set, numbers[i]);
}

/* The signals with an effect. All threads block them, always: they come by signalfd(2), so that no
 * code ever runs in a handler. */
static void held(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    add_all(ret_set, told, COUNT(told));
    add_all(ret_set, stops, COUNT(stops));
    sigaddset(ret_set, SIGHUP);
}

void signals_hold(void)
{
    sigset_t set;

    held(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < COUNT(ignored); i++)
        signal(ignored[i], SIG_IGN);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        signal(number, SIG_IGN);
}

static void tell(struct signals *signals, int number)
{
    if (sigismember(&signals->seen, number))
        return;
    sigaddset(&signals->seen, number);
    log_warning(signals->setup.log,
                "signal: SIG%s changes nothing here; SIGHUP reloads, SIGTERM stops (logged once)",
                number == SIGIO ? "IO" : sigabbrev_np(number)); /* not "POLL" */
}

static void take(struct signals *signals, int number)
{
    if (number == SIGTERM || number == SIGINT)
        signals->setup.stop(signals->setup.arg);
    else if (number == SIGHUP)
        signals->setup.reload(signals->setup.arg);
    else
        tell(signals, number);
}

static void on_signals(evutil_socket_t fd, short what, void *arg)
{
    struct signalfd_siginfo info;

    (void)what;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info)
        take(arg, (int)info.ssi_signo);
}

struct signals *signals_new(const struct signals_setup *setup)
{
    struct signals *signals = calloc(1, sizeof *signals);
    sigset_t set;

    if (!signals)
        return NULL;
    signals->setup = *setup;
    sigemptyset(&signals->seen);
    held(&set);
    signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals->fd < 0) {
        free(signals);
        return NULL;
    }
    event_assign(&signals->event, setup->base, signals->fd, EV_READ | EV_PERSIST, on_signals,
                 signals);
    if (event_add(&signals->event, NULL) < 0) {
        signals_free(signals);
        return NULL;
    }
    return signals;
}

void signals_free(struct signals *signals)
{
    sigset_t set;

    if (!signals)
        return;
    event_del(&signals->event);
    close(signals->fd);
    free(signals);
    sigemptyset(&set);
    add_all(&set, stops, COUNT(stops));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
