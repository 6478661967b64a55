/* SPDX-License-Identifier: MIT */
#include "pg_connect.h"

#include <stdlib.h>
#include <string.h>

#include <apikeyd/thread/worker.h>

#include "pg_hosts.h"

struct pg_attempt {
    char *dsn;
    unsigned turn;
    struct pg_hosts hosts;
    PGconn *pg;
    struct worker *worker;
    void (*done)(void *arg, const struct pg_attempt_result *result);
    void *arg;
};

/* The parameters for libpq. "dbname" holds the whole connection string. The string overrides
 * parameters before "dbname", but not those after. See "Parameter Key Words" and
 * PQconnectStartParams() in the PostgreSQL manual. */
struct parameters {
    const char *keyword[12], *value[12];
    size_t len;
};

static void add_parameter(struct parameters *parameters, const char *keyword, const char *value)
{
    parameters->keyword[parameters->len] = keyword;
    parameters->value[parameters->len++] = value;
}

static PGconn *start(const char *dsn, const struct pg_hosts *hosts)
{
    struct parameters parameters = {0};

    if (!getenv("PGTARGETSESSIONATTRS"))
        add_parameter(&parameters, "target_session_attrs", "primary");
    /* A peer that has silently gone is noticed in seconds, not hours. */
    add_parameter(&parameters, "keepalives_idle", "5");
    add_parameter(&parameters, "keepalives_interval", "2");
    add_parameter(&parameters, "keepalives_count", "3");
    add_parameter(&parameters, "tcp_user_timeout", "10000");
    add_parameter(&parameters, "fallback_application_name", "apikeyd");
    add_parameter(&parameters, "dbname", dsn);
    add_parameter(&parameters, "client_encoding", "UTF8");
    if (hosts->count > 0) {
        add_parameter(&parameters, "host", hosts->host.data);
        add_parameter(&parameters, "hostaddr", hosts->hostaddr.data);
        add_parameter(&parameters, "port", hosts->port.data);
    }
    return PQconnectStartParams(parameters.keyword, parameters.value, 1);
}

/* On the worker's thread. */
static void work(void *arg)
{
    struct pg_attempt *attempt = arg;
    struct pg_hosts *hosts = &attempt->hosts;

    pg_hosts_resolve(hosts, attempt->dsn);
    if (hosts->count == 0 && hosts->unresolved)
        return;
    for (unsigned i = 0; i < attempt->turn; i++)
        pg_hosts_rotate(hosts);
    attempt->pg = start(attempt->dsn, hosts);
}

static void attempt_free(struct pg_attempt *attempt)
{
    pg_hosts_free(&attempt->hosts);
    free(attempt->dsn);
    free(attempt);
}

static void discard(void *arg)
{
    struct pg_attempt *attempt = arg;

    PQfinish(attempt->pg);
    attempt_free(attempt);
}

static void on_worked(void *arg)
{
    struct pg_attempt *attempt = arg;
    const struct pg_hosts *hosts = &attempt->hosts;

    attempt->done(attempt->arg, &(struct pg_attempt_result){
                                    .pg = attempt->pg,
                                    .unresolved = hosts->unresolved,
                                    .why = hosts->unresolved ? hosts->why : "out of memory",
                                });
    attempt_free(attempt);
}

struct pg_attempt *pg_attempt_start(struct event_base *base, const char *dsn, unsigned turn,
                                    void (*done)(void *arg, const struct pg_attempt_result *result),
                                    void *arg)
{
    struct pg_attempt *attempt = calloc(1, sizeof *attempt);

    if (!attempt)
        return NULL;
    *attempt = (struct pg_attempt){.dsn = strdup(dsn), .turn = turn, .done = done, .arg = arg};
    if (attempt->dsn)
        attempt->worker = worker_start(base, work, on_worked, discard, attempt);
    if (!attempt->worker) {
        attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

const char *pg_attempt_resolving(struct pg_attempt *attempt)
{
    return atomic_load(&attempt->hosts.resolving);
}

void pg_attempt_cancel(struct pg_attempt *attempt)
{
    worker_abandon(attempt->worker);
}
