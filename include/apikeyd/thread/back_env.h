/* back_env: what every part of the back thread needs.
 *
 * `config` changes at a reload, so nothing of it is kept: options that cannot be reloaded read
 * the same in the next one. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BACK_ENV_H
#define APIKEYD_BACK_ENV_H

#include <sys/queue.h>

#include <event2/event.h>

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/model/metrics.h>
#include <apikeyd/model/pg_clock.h>
#include <apikeyd/model/store.h>

struct pg_session;
TAILQ_HEAD(pg_sessions, pg_session);

struct back_env {
    struct event_base *base;
    const struct config *config;
    struct slice redis_password, redis_secret; /* empty: none */
    struct freshness freshness;                /* the front is told of each change */
    struct pg_clock clock;
    struct stores stores;
    struct metrics metrics;
    struct log log;
    struct pg_sessions sessions;
    bool no_room_told;         /* in the log, and not yet that it is over: pg_sessions */
    size_t unresolved;         /* sessions whose last attempt missed a name: pg_names */
    char unresolved_name[256]; /* of a PostgreSQL host, as was logged last: pg_names */
    struct mailbox *to_front;
    bool front_gone;        /* nobody reads the mailbox any more */
    int64_t jump_logged_us; /* a jump of the clocks was logged then; 0: none */
};

/* Make the loop, and what verdicts are judged by. False when out of memory. */
bool back_env_open(struct back_env *env);
void back_env_close(struct back_env *env);

/* Send to the front thread, which never waits for this one: if its mailbox is full, it is about
 * to be emptied. */
void back_env_post(struct back_env *env, const struct to_front *message);

/* Tell the front thread what verdicts are judged by now. */
void back_env_post_freshness(struct back_env *env);

/* The current store has changed so, and what was read before with it. The front is told with the
 * next freshness inputs. */
void back_env_store_changed(struct back_env *env, enum store_change change);

/* The clocks parted by `jump_us`, as was seen at `at_us`: freshness_clocks_jumped(). The front is
 * told. */
void back_env_clock_jump(struct back_env *env, int64_t at_us, int64_t jump_us);

/* A query was answered with PostgreSQL's time: pg_clock_sample(). If that is further than it can
 * be, this host's clocks stood still, all of them, and it is a jump. */
void back_env_sample_clock(struct back_env *env, int64_t sent_us, int64_t received_us,
                           int64_t server_us);

/* Reply to the admin request with this number; takes the bytes of *reply. */
void back_env_reply(struct back_env *env, uint64_t ask, struct buffer *reply);

#endif
