/* pg_sessions: which of the daemon's sessions come first when PostgreSQL has no room for all.
 *
 *     change feed ▸ one lookup session ▸ usage ▸ the other lookup sessions
 *
 * A session can be refused because its role, its database or the server takes no more (SQLSTATE
 * 53300). Then it claims the place of the last one in this order: that session is let go as soon as
 * it carries out nothing, and no session that comes later connects before the claimant has its own.
 * A claim ends by itself, as the place may go to another client. It is not made again at once, nor
 * before that session is back: so claims in vain cost one session for each rank, no more. A place
 * that one of ours got in between is claimed at once. Lookups and usage whose sessions are refused
 * go by the change feed's. Back thread only. */
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
    const char *dsn;           /* where it connects to, and as whom */
    void (*let_go)(void *arg); /* end the session when it carries out nothing */
    void (*retry)(void *arg);  /* connect soon */
    void *arg;
    bool up;
    bool refused;             /* for want of room, and has not been up since */
    bool gave_way;            /* for a session that has not come up since, nor has this one, … */
    enum pg_rank gave_way_to; /* … of this rank */
    int64_t claimed_us;
    TAILQ_ENTRY(pg_session) in_list;
};

/* Fill in what comes before `up`, then add. */
void pg_session_add(struct pg_session *session);
void pg_session_remove(struct pg_session *session);

/* Whether it should try to connect now: no session that comes earlier has a claim. */
bool pg_session_may_connect(const struct pg_session *session);

/* Whether the next place that is left is this one's. */
bool pg_session_claims(const struct pg_session *session);

/* What became of it. `why` is the server's message. False: an attempt that began before a claim has
 * taken the place, and has to be let go. */
__attribute__((warn_unused_result)) bool pg_session_connected(struct pg_session *session);
void pg_session_refused(struct pg_session *session, const char *why);
void pg_session_ended(struct pg_session *session);

/* It was let go. */
void pg_session_gave_way(struct pg_session *session);

#endif
