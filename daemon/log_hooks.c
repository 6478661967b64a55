/* SPDX-License-Identifier: MIT */
#include "log_hooks.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <event2/event.h>

static struct log_writer *_Atomic known_writer; /* NULL: none */
static struct log libevent_log;

static void on_libevent_message(int severity, const char *message)
{
    static const enum log_level level_of[] = {
        [EVENT_LOG_DEBUG] = LOG_LEVEL_DEBUG,
        [EVENT_LOG_MSG] = LOG_LEVEL_INFO,
        [EVENT_LOG_WARN] = LOG_LEVEL_WARNING,
        [EVENT_LOG_ERR] = LOG_LEVEL_ERROR,
    };

    log_write(&libevent_log, level_of[severity & 3], "libevent: %s", message);
}

/* libevent cannot continue; by default it would exit without the queued lines. */
static void on_libevent_end(int error)
{
    (void)error;
    abort();
}

/* After return abort(3) takes the default action. A signal of kill(2) has to be sent again. */
static void on_abort(int number)
{
    struct log_writer *writer = known_writer;

    if (writer)
        log_writer_flush(writer, LOG_FLUSH_US);
    raise(number);
}

void log_hooks_install(struct log_writer *writer, enum log_level level)
{
    struct sigaction action = {.sa_handler = on_abort, .sa_flags = (int)SA_RESETHAND};

    known_writer = writer;
    libevent_log = log_writer_log(writer, level);
    sigaction(SIGABRT, &action, NULL);
    event_set_log_callback(on_libevent_message);
    event_set_fatal_callback(on_libevent_end);
}

void log_hooks_remove(void)
{
    event_set_log_callback(NULL);
    event_set_fatal_callback(NULL);
    signal(SIGABRT, SIG_DFL);
    known_writer = NULL;
}
