/* SPDX-License-Identifier: MIT */
#include "pg_renewal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/thread/timer.h>

#include "pg_connect.h"

/* For all but the resolving of names, which ends by itself. No caller waits. */
static const int64_t timeout_us = 10000000;

struct pg_renewal {
    struct pg_renewal_setup setup;
    struct pg_attempt *attempt; /* until libpq has begun, … */
    PGconn *pg;                 /* … and from then on */
    bool connected;             /* the prelude is under way */
    bool refused;               /* … and failed */
    char *password_file;        /* what is wrong with it, or NULL */
    struct event io, timer;
    bool io_added;
};

static void on_io(evutil_socket_t fd, short what, void *arg);

static void watch(struct pg_renewal *renewal, short what)
{
    if (renewal->io_added)
        event_del(&renewal->io);
    event_assign(&renewal->io, renewal->setup.base, PQsocket(renewal->pg), what, on_io, renewal);
    event_add(&renewal->io, NULL);
    renewal->io_added = true;
}

static void unwatch(struct pg_renewal *renewal)
{
    event_del(&renewal->timer);
    if (renewal->io_added)
        event_del(&renewal->io);
    renewal->io_added = false;
}

static void fail(struct pg_renewal *renewal, const char *why)
{
    struct pg_renewal_setup setup = renewal->setup;
    char *password_file = renewal->password_file;
    char text[512];

    snprintf(text, sizeof text, "%s", why); /* `why` may be libpq's */
    renewal->password_file = NULL;
    pg_renewal_cancel(renewal);
    setup.done(setup.arg, NULL, text, password_file);
    free(password_file);
}

static void finish(struct pg_renewal *renewal)
{
    struct pg_renewal_setup setup = renewal->setup;
    PGconn *pg = renewal->pg;

    renewal->pg = NULL;
    unwatch(renewal);
    pg_renewal_cancel(renewal);
    setup.done(setup.arg, pg, NULL, NULL);
}

static void flush(struct pg_renewal *renewal)
{
    int left = PQflush(renewal->pg);

    if (left < 0)
        fail(renewal, PQerrorMessage(renewal->pg));
    else
        watch(renewal, left > 0 ? EV_READ | EV_WRITE : EV_READ);
}

static void connected(struct pg_renewal *renewal)
{
    if (PQserverVersion(renewal->pg) < SERVER_VERSION_MIN) {
        fail(renewal, "PostgreSQL is too old there");
        return;
    }
    PQsetnonblocking(renewal->pg, 1);
    PQsetErrorVerbosity(renewal->pg, PQERRORS_DEFAULT);
    renewal->connected = true;
    if (!renewal->setup.prelude)
        finish(renewal);
    else if (!PQsendQuery(renewal->pg, renewal->setup.prelude))
        fail(renewal, PQerrorMessage(renewal->pg));
    else
        flush(renewal);
}

static void poll_connect(struct pg_renewal *renewal)
{
    switch (PQconnectPoll(renewal->pg)) {
    case PGRES_POLLING_READING:
        watch(renewal, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch(renewal, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        connected(renewal);
        break;
    default:
        fail(renewal, PQerrorMessage(renewal->pg));
        break;
    }
}

static void read_results(struct pg_renewal *renewal)
{
    while (!PQisBusy(renewal->pg)) {
        PGresult *result = PQgetResult(renewal->pg);
        ExecStatusType status = PQresultStatus(result);

        PQclear(result);
        if (!result && (renewal->refused || PQstatus(renewal->pg) == CONNECTION_BAD)) {
            fail(renewal, PQerrorMessage(renewal->pg));
            return;
        }
        if (!result) {
            finish(renewal);
            return;
        }
        renewal->refused |= status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
    }
    flush(renewal);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct pg_renewal *renewal = arg;

    (void)fd;
    renewal->io_added = false;
    if (!renewal->connected)
        poll_connect(renewal);
    else if ((what & EV_READ) && !PQconsumeInput(renewal->pg))
        fail(renewal, PQerrorMessage(renewal->pg));
    else
        read_results(renewal);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fail(arg, "connecting took too long");
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

static void on_attempt(void *arg, const struct pg_attempt_result *result)
{
    struct pg_renewal *renewal = arg;

    renewal->attempt = NULL;
    renewal->pg = result->pg;
    renewal->password_file = result->password_file ? strdup(result->password_file) : NULL;
    if (!renewal->pg || PQstatus(renewal->pg) == CONNECTION_BAD) {
        fail(renewal, renewal->pg ? PQerrorMessage(renewal->pg) : result->why);
        return;
    }
    PQsetNoticeReceiver(renewal->pg, ignore_notice, NULL);
    PQsetErrorVerbosity(renewal->pg, PQERRORS_VERBOSE);
    timer_start(&renewal->timer, timeout_us);
    watch(renewal, EV_WRITE);
}

struct pg_renewal *pg_renewal_start(const struct pg_renewal_setup *setup)
{
    struct pg_renewal *renewal = calloc(1, sizeof *renewal);

    if (!renewal)
        return NULL;
    renewal->setup = *setup;
    event_assign(&renewal->timer, setup->base, -1, 0, on_timer, renewal);
    renewal->attempt = pg_attempt_start(setup->base, setup->dsn, setup->turn, on_attempt, renewal);
    if (!renewal->attempt) {
        free(renewal);
        return NULL;
    }
    return renewal;
}

void pg_renewal_cancel(struct pg_renewal *renewal)
{
    if (!renewal)
        return;
    unwatch(renewal);
    if (renewal->attempt)
        pg_attempt_cancel(renewal->attempt);
    PQfinish(renewal->pg);
    free(renewal->password_file);
    free(renewal);
}
