/* pg_connection: one connection to PostgreSQL, which reconnects by itself.
 *
 * The connection is made without blocking, takes one query at a time, gives the query a time limit,
 * and reconnects after a loss with back-off and jitter. A late query normally ends the connection,
 * because the session may not be free for a long time. With `waits_when_late` the connection waits
 * a while longer, since the query may be queued behind a lock, and the session is usable again as
 * soon as the answer comes. A transaction pooler is fine: queries are unnamed, and only the
 * start-up packet sets session parameters.
 *
 * Before the session is older than postgres.max_age the connection makes another one, and changes
 * over between two queries, which the caller need not notice. If none can be made in time, the
 * session ends, and the connection is lost and made as ever. A login that fails just after a loss
 * is tried again for two seconds before the connection counts as down, since a password that is
 * being changed differs between the server and the password file for a moment.
 *
 * The connection goes to the primary, unless the connection string says otherwise: a standby lags
 * behind the notifications. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_CONNECTION_H
#define APIKEYD_PG_CONNECTION_H

#include <libpq-fe.h>

#include <apikeyd/postgres/pg_sessions.h>
#include <apikeyd/thread/back_env.h>

struct pg_connection;

enum pg_outcome {
    PG_DONE,    /* the result holds rows */
    PG_REFUSED, /* the server answered with an error: the result holds it */
    PG_LATE,    /* no answer within the time limit; the query may have been executed */
    PG_LOST,    /* the connection broke; likewise */
};

enum { PG_PARAMS_MAX = 11 };

struct pg_param {
    Oid type;
    struct slice bytes; /* binary format */
};

struct pg_query {
    const char *sql;
    size_t params;
    struct pg_param param[PG_PARAMS_MAX];
    int64_t timeout_us;
    /* Called once. `result` is freed afterwards; NULL for LATE and LOST. The connection takes the
     * next query only after `on_ready`. */
    void (*done)(void *arg, enum pg_outcome outcome, const PGresult *result);
    void *arg;
};

struct pg_connection_setup {
    struct back_env *env;
    const char *purpose;  /* for logs; lives forever */
    enum pg_rank rank;    /* priority when the server has no room for all sessions */
    const char *dsn;      /* copied */
    bool waits_when_late; /* after a late query's `done`, keep waiting for its answer */
    /* A session whose query was refused for lack of rights is replaced, once every few seconds: the
     * role may have been dropped and made again, which gives earlier sessions none of its rights.
     */
    bool renews_when_denied;
    /* Statements that live forever; NULL: none. A session that takes the place of another one runs
     * the prelude first. Then the other one runs the farewell, and its notifications are
     * delivered. */
    const char *prelude, *farewell;
    /* The connection can take a query, or has just gone down. */
    void (*on_ready)(void *arg);
    void (*on_down)(void *arg);
    /* Another session has taken the place, perhaps of another server. May be NULL. */
    void (*on_renewed)(void *arg);
    /* A notification came, before the result of any query sent after it was made. May be NULL. */
    void (*on_notify)(void *arg, const char *payload);
    void *arg;
};

/* NULL when out of memory. Starts to connect at once. */
struct pg_connection *pg_connection_new(const struct pg_connection_setup *setup);

/* A query under way ends as LOST. */
void pg_connection_free(struct pg_connection *connection);

bool pg_connection_ready(const struct pg_connection *connection);

/* Returns whether the connection can take a query or is executing one. */
bool pg_connection_up(const struct pg_connection *connection);

/* Returns whether the server is known not to answer: the last attempt to connect failed, or a query
 * was late. False at first, and during the reconnect after a loss. */
bool pg_connection_down(const struct pg_connection *connection);

/* Returns whether the connection flaps, so that its losses are no longer logged. */
bool pg_connection_flaps(const struct pg_connection *connection);

/* Returns whether the server had no room at the last attempt, or the session gave its place to a
 * session of higher rank. */
bool pg_connection_refused(const struct pg_connection *connection);

/* Returns whether the connection waits for a late query: the server may be healthy, and the query
 * behind a lock. */
bool pg_connection_overdue(const struct pg_connection *connection);

/* Returns the PID of the server's process, as reported at the start of the session. */
int pg_connection_server_pid(const struct pg_connection *connection);

/* The caller cannot use the session, for the reason `why`: close the connection, which calls
 * `on_down`, and reconnect later, to another host first if there are several. The connection must
 * be ready; the call may be inside `done`. */
void pg_connection_give_up(struct pg_connection *connection, const char *why);

/* If the connection is in back-off, reconnect now. */
void pg_connection_retry(struct pg_connection *connection);

/* As pg_connection_retry(), when the server is known to answer other sessions: an attempt or a late
 * query that hangs is also abandoned, and the connection starts again. */
void pg_connection_hurry(struct pg_connection *connection);

/* Send a query; the connection must be ready. */
void pg_connection_send(struct pg_connection *connection, const struct pg_query *query);

#endif
