/* back_env: the state that all parts of the back thread share.
 *
 * `config` is replaced at a reload, so no part keeps a pointer into it. Options that cannot be
 * reloaded keep their values in the new config. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BACK_ENV_H
#define APIKEYD_BACK_ENV_H

#include <sys/queue.h>

#include <event2/event.h>

#include <apikeyd/base/log.h>
#include <apikeyd/base/rate_limit.h>
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
    struct key_hasher *hasher; /* replaced likewise */
    unsigned key_scheme;       /* counts changes of how keys are found: columns and hasher */
    struct slice redis_password, redis_sentinel_password, redis_secret; /* empty: none */
    struct freshness freshness; /* the front is told of each change */
    struct pg_clock clock;
    struct stores stores;
    struct metrics metrics;
    struct log log;
    struct pg_sessions sessions;
    struct rate_limit connects; /* attempts to connect to PostgreSQL: pg_sessions */
    bool no_room_told;          /* logged, and its end not yet: pg_sessions */
    size_t unresolved;          /* sessions whose last attempt missed a name: pg_names */
    char unresolved_name[256];  /* of a PostgreSQL host, logged last: pg_names */
    struct mailbox *to_front;
    bool front_gone;        /* no thread reads the mailbox any more */
    int64_t jump_logged_us; /* when a jump of the clocks was logged; 0: never */
};

/* Set up the event loop, and freshness. False when out of memory. */
bool back_env_open(struct back_env *env);
void back_env_close(struct back_env *env);

/* Send to the front thread. That thread never waits for this one, so a full mailbox empties
 * soon. False when the thread has gone: then what the message owns is still the caller's. */
bool back_env_post(struct back_env *env, const struct to_front *message);

/* Send the front thread the current freshness inputs. */
void back_env_post_freshness(struct back_env *env);

/* The current store has changed, and earlier reads with it. The front thread learns of it with the
 * next freshness inputs. */
void back_env_store_changed(struct back_env *env, enum store_change change);

/* The clocks parted by `jump_us`, detected at `at_us`: freshness_clocks_jumped(). Also tells the
 * front thread. */
void back_env_clock_jump(struct back_env *env, int64_t at_us, int64_t jump_us);

/* A query was answered with PostgreSQL's time: pg_clock_sample(). If that time is ahead of its
 * bound, all clocks of this host stood still, and that counts as a jump. Where keys have windows,
 * the front thread is told if it knows PostgreSQL's clock less well. */
void back_env_sample_clock(struct back_env *env, int64_t sent_us, int64_t received_us,
                           int64_t server_us);

/* Reply to the admin request with this number; takes the bytes of *reply. */
void back_env_reply(struct back_env *env, uint64_t ask, struct buffer *reply);

#endif
