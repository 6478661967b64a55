/* SPDX-License-Identifier: MIT */
#include "ending_keys.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/config/sql_template.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/thread/timer.h>

/* How often the lock is asked for, and how often its holder counts. A count that was not renewed in
 * time is not shown. */
static const int64_t round_us = 10000000;
static const int64_t count_interval_us = 300000000;
static const int64_t count_max_age_us = 660000000;

/* Longer than PostgreSQL gives itself, below. */
static const int64_t statement_timeout_us = 8000000;

/* The lock is the session's, and is freed with it. Asking again for a lock that one has is counted
 * in the session's own memory only. The settings make PostgreSQL notice within two minutes that the
 * holder's host has gone without a word; on a Unix socket they do nothing. */
static const char lock_template[] =
    "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended("
    "pg_catalog.concat('apikeyd: keys that end in ', {table_text}), 0)), "
    "pg_catalog.set_config('tcp_keepalives_idle', '60', false), "
    "pg_catalog.set_config('tcp_keepalives_interval', '10', false), "
    "pg_catalog.set_config('tcp_keepalives_count', '3', false), "
    "pg_catalog.set_config('tcp_user_timeout', '90s', false)";

/* The session is no pooler's: it leads where the feed's leads. */
static const char settings_template[] =
    "SELECT pg_catalog.set_config('statement_timeout', '5s', false), "
    "pg_catalog.set_config('lock_timeout', '1s', false), "
    "pg_catalog.set_config('max_parallel_workers_per_gather', '0', false), "
    "pg_catalog.set_config('TimeZone', {zone}, false)";

#define ENDS "{expires}::pg_catalog.timestamptz"

static const char count_template[] = "SELECT pg_catalog.count(*) FROM {table} WHERE ";
static const char active_template[] = "{active} IS TRUE AND ";
static const char ends_template[] = ENDS " OPERATOR(pg_catalog.>) pg_catalog.now() AND " ENDS
                                         " OPERATOR(pg_catalog.<=) (pg_catalog.now() "
                                         "OPERATOR(pg_catalog.+) '7 days'::pg_catalog.interval)";

struct ending_keys {
    struct ending_keys_setup setup;
    char *lock_sql, *settings_sql, *count_sql;
    struct event timer;
    bool due;                         /* the lock is to be asked for */
    bool asking;                      /* by the feed's session */
    struct pg_connection *connection; /* NULL: another daemon counts */
    bool set;                         /* the session's settings are made */
    int64_t sent_us;                  /* of the last count, monotonic; TIME_NEVER: none yet */
    int64_t counted_us;               /* … that was answered */
    uint64_t count;
    bool failure_logged;
};

static char *statement(const struct config *config, const char *const parts[], size_t len)
{
    struct buffer sql = {0};

    for (size_t i = 0; i < len; i++)
        sql_template(&sql, config, parts[i]);
    buffer_append(&sql, "", 1);
    return sql.data;
}

/* Another daemon counts from now on, or none. */
static void step_down(struct ending_keys *ending)
{
    struct pg_connection *connection = ending->connection;

    ending->connection = NULL;
    ending->counted_us = TIME_NEVER;
    pg_connection_free(connection);
}

static void log_failure(struct ending_keys *ending, const PGresult *result)
{
    const char *message = result ? PQresultErrorMessage(result) : "PostgreSQL does not answer";

    if (!ending->failure_logged)
        log_warning(&ending->setup.env->log,
                    "postgres (ending keys): keys that end soon cannot be counted: %.*s; "
                    "keys_ending_7d is left out until they can (logged once)",
                    (int)strcspn(message, "\n"), message);
    ending->failure_logged = true;
    ending->counted_us = TIME_NEVER;
}

static void on_counted(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct ending_keys *ending = arg;

    if (!ending->connection)
        return; /* it has stepped down meanwhile */
    if (outcome != PG_DONE || PQgetlength(result, 0, 0) != 8) {
        log_failure(ending, result);
        return;
    }
    ending->count = (uint64_t)pg_get_int64(PQgetvalue(result, 0, 0));
    ending->counted_us = ending->sent_us;
    ending->failure_logged = false;
}

static void on_set(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct ending_keys *ending = arg;

    if (!ending->connection)
        return;
    ending->set = outcome == PG_DONE;
    if (outcome == PG_REFUSED) {
        log_failure(ending, result);
        ending->sent_us = clock_monotonic_us(); /* the next attempt comes with the next count */
    }
}

static void run(struct ending_keys *ending, const char *sql,
                void (*done)(void *arg, enum pg_outcome outcome, const PGresult *result))
{
    struct pg_query query = {
        .sql = sql,
        .timeout_us = statement_timeout_us,
        .done = done,
        .arg = ending,
    };

    pg_connection_send(ending->connection, &query);
}

/* Count, if it is time. */
static void go_on(struct ending_keys *ending)
{
    int64_t now_us = clock_monotonic_us();
    bool due = ending->sent_us == TIME_NEVER || now_us - ending->sent_us >= count_interval_us;

    if (!due || !ending->connection || !pg_connection_ready(ending->connection))
        return;
    if (!ending->set) {
        run(ending, ending->settings_sql, on_set);
        return;
    }
    ending->sent_us = now_us;
    run(ending, ending->count_sql, on_counted);
}

static void on_ready(void *arg)
{
    go_on(arg);
}

static void on_other_session(void *arg)
{
    struct ending_keys *ending = arg;

    ending->set = false;
}

static void step_up(struct ending_keys *ending)
{
    const struct config *config = ending->setup.env->config;

    ending->set = false;
    ending->sent_us = TIME_NEVER;
    ending->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = ending->setup.env,
        .purpose = "ending keys",
        .rank = PG_RANK_SPARE,
        .dsn = config->postgres_listen_dsn[0] ? config->postgres_listen_dsn : config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_other_session,
        .on_renewed = on_other_session,
        .renews_when_denied = true,
        .arg = ending,
    });
}

static void on_asked(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct ending_keys *ending = arg;

    ending->asking = false;
    if (outcome == PG_REFUSED)
        log_failure(ending, result);
    if (outcome != PG_DONE || !PQgetvalue(result, 0, 0)[0]) {
        step_down(ending);
        return;
    }
    if (!ending->connection)
        step_up(ending);
    else
        go_on(ending);
}

/* Ask for the lock, if it is time and the feed's session has nothing to do. */
static void ask(struct ending_keys *ending)
{
    struct pg_query query = {
        .sql = ending->lock_sql,
        .timeout_us = 3000000, /* as a heartbeat, which waits for it */
        .done = on_asked,
        .arg = ending,
    };

    if (!ending->due || ending->asking || !ending->setup.lend(ending->setup.arg, NULL))
        return;
    ending->due = false;
    ending->asking = true;
    (void)ending->setup.lend(ending->setup.arg, &query);
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
    struct ending_keys *ending = arg;

    (void)fd;
    (void)what;
    ending->due = true;
    timer_start(&ending->timer, round_us);
    ask(ending);
}

struct ending_keys *ending_keys_new(const struct ending_keys_setup *setup)
{
    struct ending_keys *ending = calloc(1, sizeof *ending);
    const struct config *config = setup->env->config;
    const char *const count[] = {
        count_template, config->postgres_active_column[0] ? active_template : "", ends_template};

    if (!ending)
        return NULL;
    ending->setup = *setup;
    ending->counted_us = TIME_NEVER;
    event_assign(&ending->timer, setup->env->base, -1, 0, on_round, ending);
    if (!config->postgres_expires_column[0])
        return ending;
    ending->lock_sql = statement(config, (const char *[]){lock_template}, 1);
    ending->settings_sql = statement(config, (const char *[]){settings_template}, 1);
    ending->count_sql = statement(config, count, sizeof count / sizeof count[0]);
    return ending;
}

void ending_keys_free(struct ending_keys *ending)
{
    if (!ending)
        return;
    step_down(ending);
    event_del(&ending->timer);
    free(ending->lock_sql);
    free(ending->settings_sql);
    free(ending->count_sql);
    free(ending);
}

void ending_keys_feed_is(struct ending_keys *ending, bool up)
{
    if (!ending->lock_sql)
        return;
    ending->due = up; /* the feed says when its session is idle */
    if (up) {
        timer_start(&ending->timer, round_us);
        return;
    }
    event_del(&ending->timer);
    step_down(ending);
}

void ending_keys_feed_idle(struct ending_keys *ending)
{
    ask(ending);
}

void ending_keys_hurry(struct ending_keys *ending)
{
    ending->sent_us = TIME_NEVER;
    ending->due = evtimer_pending(&ending->timer, NULL);
    ask(ending);
}

uint64_t ending_keys_count(const struct ending_keys *ending)
{
    bool known = ending->counted_us != TIME_NEVER &&
                 clock_monotonic_us() - ending->counted_us < count_max_age_us;

    return known ? ending->count : METRIC_ABSENT;
}
