/* SPDX-License-Identifier: MIT */
#include "usage_session.h"

#include <stdlib.h>
#include <string.h>

#include <apikeyd/clock/clock.h>

/* The time limit of a statement on the feed's session: no longer than a heartbeat may take. */
static const int64_t borrowed_timeout_us = 3000000;

/* After one that was late, or of no use. */
static const int64_t feed_bar_us = 10000000;

struct usage_session {
    struct usage_session_setup setup;
    struct pg_connection *own;
    bool feed_usable;
    bool borrowing;        /* a query is under way by the feed's session, … */
    bool borrowed;         /* … or has just been answered by that */
    struct pg_query query; /* the caller's query */
    int64_t feed_barred_us;
};

static bool feed_stands_in(const struct usage_session *session)
{
    const struct config *config = session->setup.env->config;
    bool same_server = !config->postgres_listen_dsn[0] ||
                       strcmp(config->postgres_listen_dsn, config->postgres_dsn) == 0;

    return same_server && session->feed_usable && pg_connection_refused(session->own) &&
           clock_monotonic_us() >= session->feed_barred_us;
}

bool usage_session_ready(const struct usage_session *session)
{
    if (session->borrowing)
        return false;
    return pg_connection_ready(session->own) ||
           (feed_stands_in(session) && session->setup.lend(session->setup.lend_arg, NULL));
}

bool usage_session_borrows(const struct usage_session *session)
{
    return session->borrowing;
}

bool usage_session_down(const struct usage_session *session)
{
    return !session->borrowing && !feed_stands_in(session) && pg_connection_down(session->own);
}

static void bar_feed(struct usage_session *session)
{
    session->feed_barred_us = clock_monotonic_us() + feed_bar_us;
}

static void on_borrowed(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct usage_session *session = arg;

    session->borrowing = false;
    if (outcome == PG_LATE)
        bar_feed(session);
    session->borrowed = true;
    session->query.done(session->query.arg, outcome, result);
    session->borrowed = false;
    /* Its own came up meanwhile, or neither of the two is of use any more: the caller, who waited
     * for this answer, goes on. */
    if (!session->borrowing && pg_connection_ready(session->own))
        session->setup.on_ready(session->setup.arg);
    else if (usage_session_down(session))
        session->setup.on_down(session->setup.arg);
}

void usage_session_send(struct usage_session *session, const struct pg_query *query)
{
    struct pg_query borrowed = *query;

    if (pg_connection_ready(session->own)) {
        pg_connection_send(session->own, query);
        return;
    }
    borrowed.timeout_us = borrowed_timeout_us;
    borrowed.done = on_borrowed;
    borrowed.arg = session;
    session->query = *query;
    session->borrowing = true;
    (void)session->setup.lend(session->setup.lend_arg, &borrowed);
}

void usage_session_give_up(struct usage_session *session, const char *why)
{
    if (!session->borrowed) {
        pg_connection_give_up(session->own, why);
        return;
    }
    bar_feed(session);
    session->setup.on_down(session->setup.arg);
}

void usage_session_feed_is(struct usage_session *session, bool usable)
{
    bool was_of_use = feed_stands_in(session);

    session->feed_usable = usable;
    if (was_of_use && !usable)
        session->setup.on_down(session->setup.arg);
}

void usage_session_feed_idle(struct usage_session *session)
{
    if (feed_stands_in(session) && usage_session_ready(session))
        session->setup.on_ready(session->setup.arg);
}

static void on_ready(void *arg)
{
    struct usage_session *session = arg;

    session->setup.on_ready(session->setup.arg);
}

static void on_down(void *arg)
{
    struct usage_session *session = arg;

    session->setup.on_down(session->setup.arg);
}

struct usage_session *usage_session_new(const struct usage_session_setup *setup)
{
    struct usage_session *session = calloc(1, sizeof *session);

    if (!session)
        return NULL;
    session->setup = *setup;
    session->own = pg_connection_new(&(struct pg_connection_setup){
        .env = setup->env,
        .purpose = "usage",
        .rank = PG_RANK_USAGE,
        .dsn = setup->env->config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .renews_when_denied = true,
        .arg = session,
    });
    if (!session->own) {
        free(session);
        return NULL;
    }
    return session;
}

void usage_session_free(struct usage_session *session)
{
    if (!session)
        return;
    pg_connection_free(session->own);
    free(session);
}
