/* pg_connection: one connection to PostgreSQL, kept up.
 *
 * Connects without blocking, takes one query at a time, gives it a time limit, and comes back
 * after a loss with back-off and jitter. A query that is late costs the connection, as nobody knows
 * when it would be free again; or it is waited for a while longer, since it may be queued behind a
 * lock, and the session is of use again the moment that it is answered. Works behind a transaction
 * pooler: queries are unnamed and nothing is set in the session that the start-up packet does not
 * set.
 *
 * It goes to the primary, unless the connection string says otherwise: a standby lags behind what
 * is notified. Back thread only.
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
    PG_LATE,    /* no answer within the time limit; it may have been carried out */
    PG_LOST,    /* the connection broke; likewise */
};

enum { PG_PARAMS_MAX = 6 };

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
    enum pg_rank rank;    /* when the server has no room for all sessions */
    const char *dsn;      /* copied */
    bool waits_when_late; /* a late query is waited for, though no longer by its caller */
    /* The connection can take a query, or has just gone down. */
    void (*on_ready)(void *arg);
    void (*on_down)(void *arg);
    /* A notification came, before the result of any query sent after it was made. May be NULL. */
    void (*on_notify)(void *arg, const char *payload);
    void *arg;
};

/* NULL when out of memory. Starts to connect at once. */
struct pg_connection *pg_connection_new(const struct pg_connection_setup *setup);

/* A query under way ends as LOST. */
void pg_connection_free(struct pg_connection *connection);

bool pg_connection_ready(const struct pg_connection *connection);

/* Whether it can take a query or is carrying one out. */
bool pg_connection_up(const struct pg_connection *connection);

/* Whether the server is known not to answer: the last attempt to connect failed, or a query was
 * late. False at first, and while a connection that broke is being made anew. */
bool pg_connection_down(const struct pg_connection *connection);

/* Whether it comes and goes, so that no more of it is logged. */
bool pg_connection_flaps(const struct pg_connection *connection);

/* Whether the server had no room for it at the last attempt, or it left its place to a session that
 * comes before it. */
bool pg_connection_refused(const struct pg_connection *connection);

/* Whether a late query is being waited for: the server may be well, and the query behind a lock. */
bool pg_connection_overdue(const struct pg_connection *connection);

/* The server's process, as the server said at the start of the session. */
int pg_connection_server_pid(const struct pg_connection *connection);

/* It is of no use, for a reason of the caller's: close it, which calls `on_down`, and come back
 * later, to another host first if there are several. It must be ready, and may be inside `done`. */
void pg_connection_give_up(struct pg_connection *connection, const char *why);

/* If it waits before it connects again, it does so now. */
void pg_connection_retry(struct pg_connection *connection);

/* The server answers others: likewise, and if it hangs in connecting, or in a late query, it begins
 * anew. */
void pg_connection_hurry(struct pg_connection *connection);

/* Send a query; the connection must be ready. */
void pg_connection_send(struct pg_connection *connection, const struct pg_query *query);

#endif
