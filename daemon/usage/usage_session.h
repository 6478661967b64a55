/* usage_session: the session that writes usage.
 *
 * Usage has a session of its own. While PostgreSQL has no room for that session, usage goes by the
 * change feed's session when that is idle, if both have one connection string: then a statement
 * gets less time, because a heartbeat waits for it. The verbs are those of pg_connection. Back
 * thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_SESSION_H
#define APIKEYD_USAGE_SESSION_H

#include <apikeyd/postgres/pg_connection.h>

struct usage_session_setup {
    struct back_env *env;
    /* Returns whether the feed's session can take a query now. Sends `query` if so, unless it is
     * NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *lend_arg;
    /* The session can take a query, or has just gone down. */
    void (*on_ready)(void *arg);
    void (*on_down)(void *arg);
    void *arg;
};

struct usage_session;

/* NULL when out of memory. */
struct usage_session *usage_session_new(const struct usage_session_setup *setup);

/* A query under way on its own session ends as LOST. No query may be under way on the feed's. */
void usage_session_free(struct usage_session *session);

bool usage_session_ready(const struct usage_session *session);

/* A query is under way on the feed's session; its own session may come up, or fail, meanwhile. */
bool usage_session_borrows(const struct usage_session *session);

bool usage_session_down(const struct usage_session *session);
void usage_session_send(struct usage_session *session, const struct pg_query *query);
void usage_session_give_up(struct usage_session *session, const char *why);

/* The feed's session can be used from now on, or no longer; it is idle now. */
void usage_session_feed_is(struct usage_session *session, bool usable);
void usage_session_feed_idle(struct usage_session *session);

#endif
