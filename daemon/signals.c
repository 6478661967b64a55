/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The kernel sends these where a call here returns an error (EPIPE, EFBIG), or for writing to a
 * terminal in the background. */
static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU};

static const int told[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
                           SIGIO,   SIGPWR,  SIGXCPU, SIGSTKFLT};

static const int stops[] = {SIGTERM, SIGINT};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { EVENTS = COUNT(told) + COUNT(stops) + 1 };

struct signals {
    struct signals_setup setup;
    struct event *event[EVENTS];
    size_t len;
    sigset_t seen; /* and told */
};

static void change_mask(int how, const int *numbers, size_t count)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, numbers[i]);
    pthread_sigmask(how, &set, NULL);
}

static void change_all(int how)
{
    change_mask(how, told, COUNT(told));
    change_mask(how, stops, COUNT(stops));
    change_mask(how, &(const int){SIGHUP}, 1);
}

void signals_hold(void)
{
    change_all(SIG_BLOCK);
    for (size_t i = 0; i < COUNT(ignored); i++)
        signal(ignored[i], SIG_IGN);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        signal(number, SIG_IGN);
}

static void on_stop(evutil_socket_t number, short what, void *arg)
{
    struct signals *signals = arg;

    (void)number;
    (void)what;
    signals->setup.stop(signals->setup.arg);
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
    struct signals *signals = arg;

    (void)number;
    (void)what;
    signals->setup.reload(signals->setup.arg);
}

static void on_told(evutil_socket_t number, short what, void *arg)
{
    struct signals *signals = arg;

    (void)what;
    if (sigismember(&signals->seen, (int)number))
        return;
    sigaddset(&signals->seen, (int)number);
    log_warning(signals->setup.log,
                "signal: SIG%s changes nothing here; SIGHUP reloads, SIGTERM stops (logged once)",
                number == SIGIO ? "IO" : sigabbrev_np((int)number)); /* not "POLL" */
}

static bool take(struct signals *signals, int number, event_callback_fn callback)
{
    struct event *event = evsignal_new(signals->setup.base, number, callback, signals);

    signals->event[signals->len++] = event;
    return event && event_add(event, NULL) == 0;
}

struct signals *signals_new(const struct signals_setup *setup)
{
    struct signals *signals = calloc(1, sizeof *signals);
    bool taking = true;

    if (!signals)
        return NULL;
    signals->setup = *setup;
    sigemptyset(&signals->seen);
    for (size_t i = 0; i < COUNT(stops); i++)
        taking = taking && take(signals, stops[i], on_stop);
    for (size_t i = 0; i < COUNT(told); i++)
        taking = taking && take(signals, told[i], on_told);
    if (!taking || !take(signals, SIGHUP, on_reload)) {
        signals_free(signals);
        return NULL;
    }
    change_all(SIG_UNBLOCK);
    return signals;
}

/* An event that is freed leaves the default action behind, so signals are held before that. */
void signals_free(struct signals *signals)
{
    if (!signals)
        return;
    signals_hold();
    for (size_t i = 0; i < signals->len; i++) {
        if (signals->event[i])
            event_free(signals->event[i]);
    }
    free(signals);
    change_mask(SIG_UNBLOCK, stops, COUNT(stops));
}
