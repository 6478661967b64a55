/* pg_sessions: the order of the daemon's sessions when PostgreSQL has no room for all.
 *
 *     change feed ▸ one lookup session ▸ usage ▸ the other lookup sessions, and the one
 *                                                     that counts ending keys
 *
 * The server refuses a session when its role, its database or the server has no more room (SQLSTATE
 * 53300). The refused session then claims the place of the last session in this order: that session
 * is closed as soon as it is idle, and no session of lower rank connects before the claimant has
 * its place. A claim ends by itself, because the place may go to another client. A claim is not
 * repeated at once, nor before the closed session is back: so failed claims cost one session for
 * each rank, no more. A place that another session of ours got in between is claimed at once.
 * Lookups and usage whose sessions are refused use the change feed's session.
 *
 * All sessions share one limit on attempts to connect. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_SESSIONS_H
#define APIKEYD_PG_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct back_env;

enum pg_rank { PG_RANK_FEED, PG_RANK_LOOKUP, PG_RANK_USAGE, PG_RANK_SPARE };

/* A session's place in the order; part of its connection. */
struct pg_session {
    struct back_env *env;
    enum pg_rank rank;
    const char *dsn;           /* the server and the user */
    void (*let_go)(void *arg); /* end the session when it is idle */
    void (*retry)(void *arg);  /* connect soon */
    void (*renew)(void *arg);  /* make another session that takes this one's place; pg_ages */
    void (*end)(void *arg);    /* connect anew when it is idle; may be repeated; pg_ages */
    void *arg;
    bool up;
    int64_t up_us;            /* since when, and … */
    uint32_t lot;             /* … how soon it is old, drawn at that time */
    bool renewing;            /* the session that takes its place is being made, or waits */
    int64_t renew_at_us;      /* not before this time */
    bool refused;             /* for lack of room, and not up since */
    bool gave_way;            /* to a session; neither of the two has come up since; … */
    enum pg_rank gave_way_to; /* … the other session's rank */
    int64_t claimed_us;
    TAILQ_ENTRY(pg_session) in_list;
};

/* Fill in the fields before `up`, then add. */
void pg_session_add(struct pg_session *session);
void pg_session_remove(struct pg_session *session);

/* Returns whether the session should try to connect now: no session of higher rank has a claim. */
bool pg_session_may_connect(const struct pg_session *session);

/* Returns whether an attempt to connect may start now, by postgres.connects_per_second; then it has
 * to start. Else sets *ret_wait_us: a session of higher rank is to ask sooner. */
__attribute__((warn_unused_result)) bool pg_session_take_turn(struct pg_session *session,
                                                              int64_t *ret_wait_us);

/* Returns whether the next free place belongs to this session. */
bool pg_session_claims(const struct pg_session *session);

/* The result of an attempt. `why` is the server's message. False: an attempt that began before a
 * claim has taken the place; close the session. */
__attribute__((warn_unused_result)) bool pg_session_connected(struct pg_session *session);
void pg_session_refused(struct pg_session *session, const char *why);
void pg_session_ended(struct pg_session *session);

/* Another session has taken its place, and the place among the daemon's others. */
void pg_session_renewed(struct pg_session *session);

/* The session was closed. */
void pg_session_gave_way(struct pg_session *session);

#endif
