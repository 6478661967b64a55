/* SPDX-License-Identifier: MIT */
#include "pg_connect.h"

#include <stdlib.h>
#include <string.h>

#include <apikeyd/thread/worker.h>

#include "pg_hosts.h"
#include "pg_password_file.h"

struct pg_attempt {
    char *dsn;
    unsigned turn;
    struct pg_hosts hosts;
    struct buffer password_file; /* what is wrong with it, NUL-terminated; or empty */
    PGconn *pg;
    struct worker *worker;
    void (*done)(void *arg, const struct pg_attempt_result *result);
    void *arg;
};

/* The parameters for libpq. "dbname" holds the whole connection string. The string overrides
 * parameters before "dbname", but not those after. See "Parameter Key Words" and
 * PQconnectStartParams() in the PostgreSQL manual. */
struct parameters {
    const char *keyword[14], *value[14];
    size_t len;
};

static void add_parameter(struct parameters *parameters, const char *keyword, const char *value)
{
    parameters->keyword[parameters->len] = keyword;
    parameters->value[parameters->len++] = value;
}

/* libpq writes a warning to stderr about a password file that it does not use. It passes over a
 * path that leads nowhere in silence. */
static const char no_password_file[] = "/dev/null/none";

static PGconn *start(const char *dsn, const struct pg_hosts *hosts, bool by_password_file)
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
    if (!by_password_file)
        add_parameter(&parameters, "passfile", no_password_file);
    return PQconnectStartParams(parameters.keyword, parameters.value, 1);
}

/* Returns whether libpq can use the password file. Whether it needs a password is not known yet. */
static bool check_password_file(struct pg_attempt *attempt)
{
    char usual[PATH_MAX];
    const char *path = attempt->hosts.password_file.data;

    if (!path[0] && !pg_password_file_default(usual))
        return true;
    if (!path[0])
        path = usual;
    const char *wrong = pg_password_file_wrong(path);
    if (!wrong)
        return true;
    buffer_printf(&attempt->password_file, "%s: %s", path, wrong);
    buffer_append(&attempt->password_file, "", 1);
    return false;
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
    bool by_password_file = check_password_file(attempt);
    attempt->pg = start(attempt->dsn, hosts, by_password_file);
}

static void attempt_free(struct pg_attempt *attempt)
{
    pg_hosts_free(&attempt->hosts);
    buffer_free(&attempt->password_file);
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
                                    .password_file = attempt->password_file.data,
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
