/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_sessions.h>

#include <stdlib.h>
#include <string.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/back_env.h>

/* How long a claim keeps sessions of lower rank from connecting, and how long after a failed claim
 * the next one may be made. */
static const int64_t claim_us = 5000000;
static const int64_t next_claim_us = 30000000;

/* While the limit holds sessions back, each rank asks so much later than the one before. */
static const int64_t rank_wait_us = 1000;

void pg_session_add(struct pg_session *session)
{
    struct pg_sessions *sessions = &session->env->sessions;
    struct pg_session *later;

    session->claimed_us = TIME_NEVER;
    TAILQ_FOREACH(later, sessions, in_list)
    {
        if (later->rank > session->rank) {
            TAILQ_INSERT_BEFORE(later, session, in_list);
            return;
        }
    }
    TAILQ_INSERT_TAIL(sessions, session, in_list);
}

static void set_refused(struct pg_session *session, bool refused)
{
    uint64_t *count = &session->env->metrics.value[METRIC_POSTGRES_REFUSED];

    if (refused && !session->refused)
        ++*count;
    if (!refused && session->refused)
        --*count;
    session->refused = refused;
}

/* No session is refused while lost sessions have not tried yet, so all have to be up. */
static void tell_room(struct back_env *env)
{
    struct pg_session *session;

    TAILQ_FOREACH(session, &env->sessions, in_list)
    {
        if (!session->up)
            return;
    }
    if (env->no_room_told)
        log_info(&env->log, "postgres: the server has room for all sessions again");
    env->no_room_told = false;
}

void pg_session_remove(struct pg_session *session)
{
    TAILQ_REMOVE(&session->env->sessions, session, in_list);
}

static bool claimed_within(const struct pg_session *session, int64_t us)
{
    return session->claimed_us != TIME_NEVER && clock_monotonic_us() - session->claimed_us < us;
}

bool pg_session_claims(const struct pg_session *session)
{
    return session->refused && claimed_within(session, claim_us);
}

bool pg_session_may_connect(const struct pg_session *session)
{
    const struct pg_session *earlier = session;

    while ((earlier = TAILQ_PREV(earlier, pg_sessions, in_list))) {
        if (pg_session_claims(earlier))
            return false;
    }
    return true;
}

bool pg_session_take_turn(struct pg_session *session, int64_t *ret_wait_us)
{
    struct back_env *env = session->env;

    if (rate_limit_take(&env->connects, env->config->postgres_connects_per_second,
                        clock_monotonic_us(), ret_wait_us))
        return true;
    *ret_wait_us += session->rank * rank_wait_us;
    return false;
}

/* A session of lower rank has found a place: the refused sessions of higher rank may claim it at
 * once. */
static void let_earlier_claim(struct pg_session *session)
{
    struct pg_session *earlier = session;

    while ((earlier = TAILQ_PREV(earlier, pg_sessions, in_list))) {
        if (earlier->rank < session->rank && strcmp(earlier->dsn, session->dsn) == 0)
            earlier->claimed_us = TIME_NEVER;
    }
}

static void begin_life(struct pg_session *session)
{
    session->up = true;
    session->up_us = clock_monotonic_us();
    session->lot = arc4random();
    session->renew_at_us = 0;
}

bool pg_session_connected(struct pg_session *session)
{
    struct pg_session *later = session;

    if (!pg_session_may_connect(session))
        return false;
    begin_life(session);
    session->gave_way = false;
    /* A place that a later session left for this one is not lost. */
    while ((later = TAILQ_NEXT(later, in_list)))
        later->gave_way = false;
    session->claimed_us = TIME_NEVER;
    set_refused(session, false);
    let_earlier_claim(session);
    tell_room(session->env);
    return true;
}

/* Returns the last session of lower rank that is up. Sessions within a rank are equal. Returns none
 * while a place that was left for this rank is lost, maybe to another client: each claim would cost
 * one more. A place that was left for a lower rank does not matter. */
static struct pg_session *whose_place(const struct pg_session *session)
{
    struct pg_session *later, *last = NULL;

    TAILQ_FOREACH_REVERSE(later, &session->env->sessions, pg_sessions, in_list)
    {
        if (later->rank <= session->rank)
            break;
        if (later->gave_way && later->gave_way_to <= session->rank)
            return NULL;
        if (later->up && !last)
            last = later;
    }
    return last;
}

void pg_session_refused(struct pg_session *session, const char *why)
{
    struct pg_session *last = whose_place(session);

    session->up = false;
    if (!session->env->no_room_told)
        log_warning(&session->env->log,
                    "postgres: the server has no room for a session (%s); the change feed comes "
                    "first, then one lookup session, usage, and the other lookup sessions; without "
                    "sessions, lookups and usage go by the change feed's (logged once)",
                    why);
    session->env->no_room_told = true;
    set_refused(session, true);
    if (!last || claimed_within(session, next_claim_us))
        return;
    session->claimed_us = clock_monotonic_us();
    last->let_go(last->arg);
}

void pg_session_ended(struct pg_session *session)
{
    session->up = false;
}

void pg_session_renewed(struct pg_session *session)
{
    begin_life(session);
}

void pg_session_gave_way(struct pg_session *session)
{
    struct pg_session *claimant;

    session->up = false;
    session->gave_way = true;
    session->gave_way_to = PG_RANK_FEED; /* most likely the one whose claim has just ended */
    set_refused(session, true);
    TAILQ_FOREACH(claimant, &session->env->sessions, in_list)
    {
        if (pg_session_claims(claimant)) {
            session->gave_way_to = claimant->rank;
            claimant->retry(claimant->arg);
            return;
        }
    }
}
