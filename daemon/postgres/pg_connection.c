/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_connection.h>

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>

#include "pg_connect.h"
#include "pg_failure.h"
#include "pg_names.h"
#include "pg_renewal.h"

enum { ROTATIONS = 60 }; /* a multiple of every small number of hosts */

/* OVERDUE: the caller no longer waits for the query under way, but its answer shows that the server
 * is free again. */
enum state { WAITING, RESOLVING, CONNECTING, READY, BUSY, OVERDUE };

/* After this time an attempt to connect has failed. Name resolution ends by itself: the attempt
 * only counts as failed by then, and continues when the names are there. */
static const int64_t connect_timeout_us = 5000000;

/* A connection that broke after at least this time reconnects at once: most often the server, or a
 * pooler, only ended a session. */
static const int64_t proven_us = 1000000;

/* … within this time, so that sidecars that lose their sessions together do not all log in at
 * once. */
static const uint32_t reconnect_jitter_us = 50000;

/* For so long after a loss, a login that fails does not count. */
static const int64_t switch_us = 2000000;

/* A session that ended this many times in a row, each time within steady_us, is logged no more
 * until one has stayed up, or down, for longer. */
enum { SHORT_LIVES_MAX = 3 };
static const int64_t steady_us = 60000000;

/* A late query may be behind a lock. The daemon waits for it this long, so that the next query can
 * queue there. */
static const int64_t overdue_us = 10000000;

/* A session that lacks rights is replaced when it is this old. */
static const int64_t denied_us = 5000000;

/* An attempt to connect that takes longer starts again when there is news of the server. */
static const int64_t slow_connect_us = 200000;

/* The server takes about this long to end a session, longer when it is busy. So the daemon asks for
 * the place repeatedly while it keeps the place from others. */
static const int64_t give_way_us = 20000;
static const int64_t claim_interval_us = 200000;

/* Of a line in the log. */
enum { LINE_SIZE = 560 };

struct pg_connection {
    struct pg_connection_setup setup;
    char *dsn;
    enum state state;
    bool down;
    unsigned short_lives; /* sessions in a row that ended within steady_us */
    PGconn *pg;
    PGresult *result; /* of the query under way, while more may come */
    struct pg_query query;
    struct pg_session session;  /* among the daemon's others */
    bool gives_way;             /* as soon as the query under way has ended */
    struct pg_attempt *attempt; /* while names are being resolved */
    bool unresolved;            /* a name had no address at the last attempt, … */
    bool waits_for_name;        /* … and no other host has been reached; counted */
    struct event io, timer;
    bool io_added;
    struct backoff backoff;
    int64_t connected_us;    /* when it came up last (monotonic), … */
    int64_t attempt_us;      /* … and when the present attempt began */
    int64_t lost_us;         /* … and when a proven session ended last */
    unsigned connects_late;  /* time-outs and useless servers: each lets another host come first */
    char password_file[256]; /* what is wrong with it, as of the last attempt; or "" */
    struct pg_renewal *renewal; /* makes another session, … */
    PGconn *next;               /* … which waits until the query under way has ended */
    struct backoff renewal_backoff;
    bool renewal_logged; /* a failure */
    char
        told[LINE_SIZE]; /* the last fault of its login that was logged while it flaps or is down */
    bool ends;           /* too old: as soon as the query under way has ended */
};

static void on_io(evutil_socket_t fd, short what, void *arg);

static void watch(struct pg_connection *connection, short what)
{
    if (connection->io_added)
        event_del(&connection->io);
    event_assign(&connection->io, connection->setup.env->base, PQsocket(connection->pg), what,
                 on_io, connection);
    event_add(&connection->io, NULL);
    connection->io_added = true;
}

static void drop_next(struct pg_connection *connection)
{
    pg_renewal_cancel(connection->renewal);
    PQfinish(connection->next);
    connection->renewal = NULL;
    connection->next = NULL;
    connection->session.renewing = false;
}

static void close_pg(struct pg_connection *connection)
{
    drop_next(connection);
    connection->ends = false;
    if (connection->io_added)
        event_del(&connection->io);
    connection->io_added = false;
    PQclear(connection->result);
    connection->result = NULL;
    PQfinish(connection->pg);
    connection->pg = NULL;
    event_del(&connection->timer);
}

/* libpq's messages end in a line break and may have several lines. */
static void first_line(const char *message, char *ret, size_t size)
{
    snprintf(ret, size, "%.*s", (int)strcspn(message, "\n"), message);
}

static void count_failed_connect(struct pg_connection *connection, enum pg_failure failure,
                                 bool unresolved)
{
    static const enum metric metrics[] = {
        [PG_FAILURE_LOGIN] = METRIC_POSTGRES_FAILED_LOGIN,
        [PG_FAILURE_TLS] = METRIC_POSTGRES_FAILED_TLS,
        [PG_FAILURE_ROOM] = METRIC_POSTGRES_FAILED_ROOM,
        [PG_FAILURE_OTHER] = METRIC_POSTGRES_FAILED_OTHER,
    };

    connection->setup.env->metrics
        .value[unresolved ? METRIC_POSTGRES_FAILED_NAME : metrics[failure]]++;
}

static void count_failure(struct pg_connection *connection, enum pg_outcome outcome)
{
    connection->setup.env->metrics
        .value[outcome == PG_LATE ? METRIC_POSTGRES_TIMEOUTS : METRIC_POSTGRES_ERRORS]++;
}

static int64_t next_attempt_us(struct pg_connection *connection)
{
    int64_t delay_us = backoff_next(&connection->backoff, arc4random());

    return pg_session_claims(&connection->session) && delay_us > claim_interval_us
               ? claim_interval_us
               : delay_us;
}

/* Count short-lived sessions. A session that has been down for long is news again. */
static void note_life(struct pg_connection *connection, bool was_up, int64_t since_us)
{
    if (was_up) {
        connection->short_lives = since_us < steady_us ? connection->short_lives + 1 : 0;
    } else if (connection->short_lives > SHORT_LIVES_MAX && since_us > 2 * steady_us) {
        connection->short_lives = 0;
        connection->down = false;
    }
}

/* The password may be about to change, and sessions may be ended for that: the session that was
 * lost had the right one. */
static bool in_switch(const struct pg_connection *connection)
{
    return connection->lost_us != TIME_NEVER && !connection->down &&
           clock_monotonic_us() - connection->lost_us < switch_us;
}

/* libpq does not tell why it had no password. */
static void describe(const struct pg_connection *connection, const char *why, char *ret,
                     size_t size)
{
    char line[256];

    first_line(why, line, sizeof line);
    if (connection->password_file[0] && pg_failure_no_password(why))
        snprintf(ret, size, "%s; password file %s", line, connection->password_file);
    else
        snprintf(ret, size, "%s", line);
}

/* A fault that somebody has to mend, and another one than before, also while the connection is down
 * or flaps. */
static bool is_news(struct pg_connection *connection, enum pg_failure failure, const char *line)
{
    bool lasting = failure == PG_FAILURE_LOGIN || failure == PG_FAILURE_TLS;
    bool news = lasting && strcmp(line, connection->told) != 0;

    if (news)
        snprintf(connection->told, sizeof connection->told, "%s", line);
    return news;
}

static void wait_to_connect(struct pg_connection *connection, bool proven)
{
    if (!proven) {
        timer_start(&connection->timer, next_attempt_us(connection));
        return;
    }
    connection->lost_us = clock_monotonic_us();
    backoff_reset(&connection->backoff);
    timer_start(&connection->timer, arc4random_uniform(reconnect_jitter_us));
}

/* The connection is unusable: close it, fail the waiting queries, and connect again later. */
static void lose(struct pg_connection *connection, enum pg_outcome outcome, const char *why)
{
    const struct log *log = &connection->setup.env->log;
    bool was_busy = connection->state == BUSY;
    bool was_up = was_busy || connection->state == READY || connection->state == OVERDUE;
    int64_t lived_us = clock_monotonic_us() - connection->connected_us;
    bool proven = was_up && lived_us > proven_us;
    enum pg_failure failure = was_up ? PG_FAILURE_OTHER : pg_failure_of(why);
    bool refused = failure == PG_FAILURE_ROOM;
    bool switching =
        outcome == PG_LOST && (was_up || failure == PG_FAILURE_LOGIN) && in_switch(connection);
    char line[LINE_SIZE];

    describe(connection, why, line, sizeof line);
    note_life(connection, was_up, lived_us);
    if (!was_up)
        count_failed_connect(connection, failure, connection->unresolved && !connection->pg);
    bool quiet = connection->down || refused || connection->short_lives > SHORT_LIVES_MAX ||
                 (connection->unresolved && !connection->pg); /* the name's fault has been logged */
    if (!is_news(connection, failure, line) && quiet)
        log_debug(log, "postgres (%s): %s", connection->setup.purpose, line);
    else
        log_write(log, switching && !was_up ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
                  "postgres (%s): %s; trying again%s", connection->setup.purpose, line,
                  pg_connection_flaps(connection)
                      ? " (it comes and goes: logged again when it has stayed for a minute)"
                      : "");
    if (outcome != PG_REFUSED) /* a refusal was counted when it came */
        count_failure(connection, outcome);
    connection->down = outcome == PG_LATE || connection->state == OVERDUE || !(proven || switching);
    connection->state = WAITING;
    connection->gives_way = false;
    close_pg(connection);
    wait_to_connect(connection, proven);
    if (refused)
        pg_session_refused(&connection->session, line);
    else
        pg_session_ended(&connection->session);
    if (was_busy)
        connection->query.done(connection->query.arg, outcome, NULL);
    connection->setup.on_down(connection->setup.arg);
}

/* Leave the place to a session of higher rank. That does not count as a failure. */
static void give_way(struct pg_connection *connection)
{
    log_debug(&connection->setup.env->log, "postgres (%s): leaving its place to another session",
              connection->setup.purpose);
    connection->state = WAITING;
    connection->gives_way = false;
    connection->down = true;
    close_pg(connection);
    timer_retry(&connection->timer, &connection->backoff);
    pg_session_gave_way(&connection->session);
    connection->setup.on_down(connection->setup.arg);
}

static void on_let_go(void *arg)
{
    struct pg_connection *connection = arg;

    if (connection->state == READY)
        give_way(connection);
    else
        connection->gives_way = connection->state == BUSY;
}

/* The place becomes free when the server has ended the session that gave way. */
static void on_retry(void *arg)
{
    struct pg_connection *connection = arg;

    if (connection->state == WAITING)
        timer_start(&connection->timer, give_way_us);
}

static void wait_for_name(struct pg_connection *connection, bool waits)
{
    uint64_t *count = &connection->setup.env->metrics.value[METRIC_POSTGRES_UNRESOLVED];

    *count += (uint64_t)waits - (uint64_t)connection->waits_for_name;
    connection->waits_for_name = waits;
}

/* The session has had its time, and no other one has come. The next one is made at once. */
static void end_life(struct pg_connection *connection)
{
    log_info(&connection->setup.env->log,
             "postgres (%s): the session is as old as postgres.max_age allows; connecting again",
             connection->setup.purpose);
    connection->state = WAITING;
    close_pg(connection);
    wait_to_connect(connection, true);
    pg_session_ended(&connection->session);
    connection->setup.on_down(connection->setup.arg);
}

static void on_end(void *arg)
{
    struct pg_connection *connection = arg;

    if (connection->state == READY)
        end_life(connection);
    else
        connection->ends = true;
}

static void deliver_notifications(struct pg_connection *connection)
{
    for (PGnotify *notify; (notify = PQnotifies(connection->pg)); PQfreemem(notify)) {
        if (connection->setup.on_notify)
            connection->setup.on_notify(connection->setup.arg, notify->extra);
    }
}

/* The next session takes the place, and the connection is up since as long as before: it has proven
 * itself. Notifications that the next session has read already come first. */
static void change_over(struct pg_connection *connection)
{
    PGconn *next = connection->next;

    connection->next = NULL;
    close_pg(connection);
    connection->pg = next;
    watch(connection, EV_READ);
    backoff_reset(&connection->renewal_backoff);
    connection->renewal_logged = false;
    connection->setup.env->metrics.value[METRIC_POSTGRES_RENEWALS]++;
    pg_session_renewed(&connection->session);
    log_debug(&connection->setup.env->log, "postgres (%s): another session has taken the place",
              connection->setup.purpose);
    if (connection->setup.on_renewed)
        connection->setup.on_renewed(connection->setup.arg);
    deliver_notifications(connection);
}

static void renew_later(struct pg_connection *connection, const char *why)
{
    const struct log *log = &connection->setup.env->log;
    char line[LINE_SIZE];

    describe(connection, why, line, sizeof line);
    if (!connection->renewal_logged)
        log_warning(log,
                    "postgres (%s): the session is to be renewed (postgres.max_age), and no other "
                    "one can be made: %s; it goes on until it is too old, and the daemon tries "
                    "again (logged once)",
                    connection->setup.purpose, line);
    connection->renewal_logged = true;
    drop_next(connection);
    connection->session.renew_at_us =
        clock_monotonic_us() + backoff_next(&connection->renewal_backoff, arc4random());
}

/* Everything that was notified before the farewell has been delivered, and what comes after the
 * prelude, which is older, is notified to the next session. */
static void on_farewell(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct pg_connection *connection = arg;

    if (outcome == PG_DONE && connection->next)
        change_over(connection);
    else if (outcome == PG_REFUSED)
        renew_later(connection, PQresultErrorMessage(result));
}

static void begin_change_over(struct pg_connection *connection)
{
    struct pg_query farewell = {
        .sql = connection->setup.farewell,
        .timeout_us = connect_timeout_us,
        .done = on_farewell,
        .arg = connection,
    };

    if (farewell.sql) {
        pg_connection_send(connection, &farewell);
        return;
    }
    change_over(connection);
    connection->setup.on_ready(connection->setup.arg);
}

/* The session is idle: what has waited for that comes before the next query. */
static void go_on(struct pg_connection *connection)
{
    if (connection->gives_way)
        give_way(connection);
    else if (connection->next)
        begin_change_over(connection);
    else if (connection->ends)
        end_life(connection);
    else
        connection->setup.on_ready(connection->setup.arg);
}

static void note_password_file(struct pg_connection *connection, const char *wrong)
{
    snprintf(connection->password_file, sizeof connection->password_file, "%s", wrong ? wrong : "");
}

static void on_renewal(void *arg, PGconn *pg, const char *why, const char *password_file)
{
    struct pg_connection *connection = arg;

    connection->renewal = NULL;
    connection->next = pg;
    note_password_file(connection, password_file);
    if (!pg) {
        count_failed_connect(connection, pg_failure_of(why), false);
        renew_later(connection, why);
        return;
    }
    connection->setup.env->metrics.value[METRIC_POSTGRES_CONNECTS]++;
    if (connection->state == READY)
        go_on(connection);
}

static void on_renew(void *arg)
{
    struct pg_connection *connection = arg;

    connection->session.renewing = true;
    connection->renewal = pg_renewal_start(&(struct pg_renewal_setup){
        .base = connection->setup.env->base,
        .dsn = connection->dsn,
        .turn = connection->connects_late,
        .prelude = connection->setup.prelude,
        .done = on_renewal,
        .arg = connection,
    });
    if (!connection->renewal)
        renew_later(connection, "no memory or thread to connect with");
}

static void connected(struct pg_connection *connection)
{
    if (PQserverVersion(connection->pg) < SERVER_VERSION_MIN) {
        char why[96];

        snprintf(why, sizeof why, "PostgreSQL %d is too old: 15 or later is needed",
                 PQserverVersion(connection->pg) / 10000);
        connection->connects_late = (connection->connects_late + 1) % ROTATIONS;
        lose(connection, PG_LOST, why);
        return;
    }
    event_del(&connection->timer);
    PQsetnonblocking(connection->pg, 1);
    PQsetErrorVerbosity(connection->pg, PQERRORS_DEFAULT);
    log_write(&connection->setup.env->log,
              pg_connection_flaps(connection) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
              "postgres (%s): connected", connection->setup.purpose);
    wait_for_name(connection, false);
    connection->setup.env->metrics.value[METRIC_POSTGRES_CONNECTS]++;
    if (!pg_connection_flaps(connection))
        connection->told[0] = '\0';
    connection->down = false;
    connection->connected_us = clock_monotonic_us();
    connection->state = READY;
    watch(connection, EV_READ);
    if (pg_session_connected(&connection->session))
        connection->setup.on_ready(connection->setup.arg);
    else
        give_way(connection);
}

static void poll_connect(struct pg_connection *connection)
{
    switch (PQconnectPoll(connection->pg)) {
    case PGRES_POLLING_READING:
        watch(connection, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch(connection, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        connected(connection);
        break;
    default:
        lose(connection, PG_LOST, PQerrorMessage(connection->pg));
        break;
    }
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

static void note_names(struct pg_connection *connection, const char *name, const char *why)
{
    bool unresolved = name != NULL;

    if (unresolved && !connection->unresolved)
        pg_names_lost(connection->setup.env, name, why);
    if (!unresolved && connection->unresolved)
        pg_names_found(connection->setup.env);
    connection->unresolved = unresolved;
    wait_for_name(connection, unresolved);
}

static void on_attempt(void *arg, const struct pg_attempt_result *result)
{
    struct pg_connection *connection = arg;

    connection->attempt = NULL;
    connection->pg = result->pg;
    note_password_file(connection, result->password_file);
    note_names(connection, result->unresolved, result->why);
    if (!connection->pg || PQstatus(connection->pg) == CONNECTION_BAD) {
        lose(connection, PG_LOST, connection->pg ? PQerrorMessage(connection->pg) : result->why);
        return;
    }
    PQsetNoticeReceiver(connection->pg, ignore_notice, NULL);
    PQsetErrorVerbosity(connection->pg, PQERRORS_VERBOSE);
    connection->state = CONNECTING;
    timer_start(&connection->timer, connect_timeout_us);
    /* PQconnectStart()'s manual: wait as if PQconnectPoll() had asked to write. */
    watch(connection, EV_WRITE);
}

static void start_connect(struct pg_connection *connection)
{
    connection->state = RESOLVING;
    connection->attempt_us = clock_monotonic_us();
    timer_start(&connection->timer, connect_timeout_us);
    connection->attempt = pg_attempt_start(connection->setup.env->base, connection->dsn,
                                           connection->connects_late, on_attempt, connection);
    if (!connection->attempt)
        lose(connection, PG_LOST, "no memory or thread to connect with");
}

/* The name servers, or the disk with the service file, do not answer. No second attempt starts
 * beside this one, so attempts do not pile up. */
static void count_as_down(struct pg_connection *connection)
{
    const char *name = pg_attempt_resolving(connection->attempt);

    count_failure(connection, PG_LATE);
    if (name)
        note_names(connection, name, "no name server has answered yet");
    else if (!connection->down)
        log_warning(&connection->setup.env->log,
                    "postgres (%s): reading libpq's files takes long; waiting for it",
                    connection->setup.purpose);
    connection->down = true;
    connection->setup.on_down(connection->setup.arg);
}

/* The query is late. Its session may be queued behind a lock, so the daemon does not close the
 * session yet. */
static void let_wait(struct pg_connection *connection)
{
    count_failure(connection, PG_LATE);
    if (!connection->down)
        log_warning(&connection->setup.env->log, "postgres (%s): a query is late; waiting for it",
                    connection->setup.purpose);
    connection->down = true;
    connection->state = OVERDUE;
    connection->gives_way = false; /* the server would not end it either */
    timer_start(&connection->timer, overdue_us);
    connection->query.done(connection->query.arg, PG_LATE, NULL);
    connection->setup.on_down(connection->setup.arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pg_connection *connection = arg;
    int64_t wait_us = 0;

    (void)fd;
    (void)what;
    if (connection->state == WAITING && !pg_session_may_connect(&connection->session)) {
        timer_retry(&connection->timer, &connection->backoff);
    } else if (connection->state == WAITING &&
               !pg_session_take_turn(&connection->session, &wait_us)) {
        timer_start(&connection->timer, wait_us);
    } else if (connection->state == WAITING) {
        start_connect(connection);
    } else if (connection->state == RESOLVING) {
        count_as_down(connection);
    } else if (connection->state == BUSY && connection->setup.waits_when_late) {
        let_wait(connection);
    } else if (connection->state == BUSY || connection->state == OVERDUE) {
        lose(connection, PG_LATE, "a query was late");
    } else {
        connection->connects_late = (connection->connects_late + 1) % ROTATIONS;
        lose(connection, PG_LATE, "connecting took too long");
    }
}

/* A query has ended: it is up. */
static void note_steady(struct pg_connection *connection)
{
    if (clock_monotonic_us() - connection->connected_us < steady_us)
        return;
    if (pg_connection_flaps(connection))
        log_info(&connection->setup.env->log, "postgres (%s): connected for a minute",
                 connection->setup.purpose);
    connection->short_lives = 0;
}

/* Refused for lack of rights: insufficient_privilege, or a role or an authorization that is none
 * (classes 0P and 28). */
static bool is_denied(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && (strcmp(state, "42501") == 0 || strncmp(state, "28", 2) == 0 ||
                     strncmp(state, "0P", 2) == 0);
}

/* A new session costs a login, so each of them lasts for a while, denied or not. */
static bool is_to_be_renewed(const struct pg_connection *connection, const PGresult *result)
{
    return connection->setup.renews_when_denied && is_denied(result) &&
           clock_monotonic_us() - connection->connected_us >= denied_us;
}

/* The query has all its results: the last one tells how it went. */
static void finish_query(struct pg_connection *connection)
{
    PGresult *result = connection->result;
    ExecStatusType status = PQresultStatus(result);
    bool done = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    enum pg_outcome outcome = done ? PG_DONE : PG_REFUSED;

    if (!result) {
        lose(connection, PG_LOST, "a query ended without a result");
        return;
    }
    bool overdue = connection->state == OVERDUE;
    bool renew = outcome == PG_REFUSED && is_to_be_renewed(connection, result);
    note_steady(connection);
    connection->result = NULL;
    connection->state = READY;
    connection->down = false;
    event_del(&connection->timer);
    watch(connection, EV_READ);
    if (outcome == PG_REFUSED && !overdue)
        count_failure(connection, outcome);
    if (!overdue)
        connection->query.done(connection->query.arg, outcome, result);
    PQclear(result);
    if (connection->state == READY && renew && !connection->gives_way)
        lose(connection, PG_REFUSED, "its role lacks rights, or was made again");
    else if (connection->state == READY)
        go_on(connection);
}

/* Write the bytes that libpq still holds, and wait for the next event. */
static bool flush(struct pg_connection *connection)
{
    int left = PQflush(connection->pg);

    if (left >= 0)
        watch(connection, left > 0 ? EV_READ | EV_WRITE : EV_READ);
    return left >= 0;
}

static void read_results(struct pg_connection *connection)
{
    while (!PQisBusy(connection->pg)) {
        PGresult *result = PQgetResult(connection->pg);

        if (!result) {
            if (PQstatus(connection->pg) == CONNECTION_BAD) {
                lose(connection, PG_LOST, PQerrorMessage(connection->pg));
                return;
            }
            /* Notifications sent before the server was done come before the result. */
            deliver_notifications(connection);
            finish_query(connection);
            return;
        }
        PQclear(connection->result);
        connection->result = result;
    }
    if (!flush(connection))
        lose(connection, PG_LOST, PQerrorMessage(connection->pg));
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct pg_connection *connection = arg;

    (void)fd;
    connection->io_added = false;
    if (connection->state == CONNECTING) {
        poll_connect(connection);
        return;
    }
    if ((what & EV_READ) && !PQconsumeInput(connection->pg)) {
        lose(connection, PG_LOST, PQerrorMessage(connection->pg));
        return;
    }
    deliver_notifications(connection);
    if (connection->state == BUSY || connection->state == OVERDUE)
        read_results(connection);
    else
        watch(connection, EV_READ);
}

struct pg_connection *pg_connection_new(const struct pg_connection_setup *setup)
{
    struct pg_connection *connection = calloc(1, sizeof *connection);

    if (!connection)
        return NULL;
    connection->dsn = strdup(setup->dsn);
    if (!connection->dsn) {
        free(connection);
        return NULL;
    }
    connection->setup = *setup;
    connection->backoff = (struct backoff){.first_us = 100000, .max_us = 3000000};
    connection->renewal_backoff = (struct backoff){.first_us = 1000000, .max_us = 60000000};
    connection->lost_us = TIME_NEVER;
    connection->session = (struct pg_session){
        .env = setup->env,
        .rank = setup->rank,
        .dsn = connection->dsn,
        .let_go = on_let_go,
        .retry = on_retry,
        .renew = on_renew,
        .end = on_end,
        .arg = connection,
    };
    pg_session_add(&connection->session);
    event_assign(&connection->timer, setup->env->base, -1, 0, on_timer, connection);
    timer_start(&connection->timer, 0);
    return connection;
}

void pg_connection_free(struct pg_connection *connection)
{
    if (!connection)
        return;
    bool was_busy = connection->state == BUSY;
    connection->state = WAITING;
    pg_session_remove(&connection->session);
    if (connection->attempt)
        pg_attempt_cancel(connection->attempt);
    close_pg(connection);
    if (was_busy)
        connection->query.done(connection->query.arg, PG_LOST, NULL);
    free(connection->dsn);
    free(connection);
}

bool pg_connection_ready(const struct pg_connection *connection)
{
    return connection->state == READY;
}

bool pg_connection_up(const struct pg_connection *connection)
{
    return connection->state == READY || connection->state == BUSY;
}

bool pg_connection_down(const struct pg_connection *connection)
{
    return connection->down;
}

bool pg_connection_flaps(const struct pg_connection *connection)
{
    return connection->short_lives >= SHORT_LIVES_MAX;
}

bool pg_connection_refused(const struct pg_connection *connection)
{
    return connection->session.refused;
}

bool pg_connection_overdue(const struct pg_connection *connection)
{
    return connection->state == OVERDUE;
}

int pg_connection_server_pid(const struct pg_connection *connection)
{
    return PQbackendPID(connection->pg);
}

void pg_connection_give_up(struct pg_connection *connection, const char *why)
{
    connection->connects_late = (connection->connects_late + 1) % ROTATIONS;
    lose(connection, PG_REFUSED, why);
}

void pg_connection_retry(struct pg_connection *connection)
{
    if (connection->state == WAITING)
        timer_start(&connection->timer, 0);
}

void pg_connection_hurry(struct pg_connection *connection)
{
    bool slow = connection->state == CONNECTING &&
                clock_monotonic_us() - connection->attempt_us > slow_connect_us;

    if (slow || connection->state == OVERDUE) {
        pg_session_ended(&connection->session);
        close_pg(connection);
        connection->state = WAITING;
    }
    pg_connection_retry(connection);
}

void pg_connection_send(struct pg_connection *connection, const struct pg_query *query)
{
    Oid type[PG_PARAMS_MAX];
    const char *value[PG_PARAMS_MAX];
    int len[PG_PARAMS_MAX];
    int format[PG_PARAMS_MAX];

    for (size_t i = 0; i < query->params; i++) {
        type[i] = query->param[i].type;
        value[i] = query->param[i].bytes.at;
        len[i] = (int)query->param[i].bytes.len;
        format[i] = 1;
    }
    connection->query = *query;
    connection->state = BUSY;
    timer_start(&connection->timer, query->timeout_us);
    if (!PQsendQueryParams(connection->pg, query->sql, (int)query->params, type, value, len, format,
                           1) ||
        !flush(connection))
        lose(connection, PG_LOST, PQerrorMessage(connection->pg));
}
