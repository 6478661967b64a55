/* redis_link: the connection to Redis, with its breaker.
 *
 *     WAITING ─back-off─▶ LOADING ─▶ ASKING ─▶ RESOLVING ─▶ TRYING each address ─MGET, SET─▶ UP
 *        ▲               certificates  sentinels    └────────────┴─ none works            │
 *        └────────────────── 5 failed reads in a row, a loss, silence ◀───────────────────┘
 *
 * The link is up only after Redis has answered the real commands, so a server that hangs, or
 * answers only PING, does not count as good. While down the link costs nothing but these tries.
 * Writes are judged separately: while Redis refuses writes (it is full, or cannot save), reads
 * continue. A replica is not used, because its data may be old. With sentinels the link follows the
 * master: they are asked before each round of tries, and one of them every ten seconds while the
 * link is up, in case that a master goes on answering that is none any more. Each outage is logged
 * once when it begins and once when it has been over for five seconds. Other reasons that it has
 * meanwhile are logged too, the first three at once, then one a minute. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_LINK_H
#define APIKEYD_REDIS_LINK_H

#include <apikeyd/thread/back_env.h>

#include "redis_reply.h"

struct redis_link;

enum redis_use { REDIS_READ, REDIS_WRITE, REDIS_USES };

/* What the connection is for. Texts live forever. */
struct redis_link_role {
    const char *name;    /* in log lines: "redis" */
    const char *without; /* while it is down: "lookups go on without it" */
    bool gauged;         /* redis_up and redis_writable are about this one */
};

/* NULL when out of memory or redis.url is malformed. `role` is not copied. */
struct redis_link *redis_link_new(struct back_env *env, const struct redis_link_role *role);

/* Requests under way end with no reply. Does not wait. */
void redis_link_free(struct redis_link *link);

/* Returns whether Redis may be read now, or written. */
bool redis_link_may(const struct redis_link *link, enum redis_use use);

/* Returns whether the queue is half full: then drop fills. */
bool redis_link_half_full(const struct redis_link *link);

/* Send one encoded command (resp_array(), resp_bulk()). `done` is called exactly once: with the
 * reply, valid during the call, or with NULL when the connection has gone, which is already
 * counted. False, and `done` is not called, when it cannot be sent. */
__attribute__((warn_unused_result)) bool
redis_link_send(struct redis_link *link, struct slice request,
                void (*done)(void *arg, const struct redis_reply *reply), void *arg);

/* Report a command's result. A failure may close the connection, which calls `done` of all commands
 * under way. */
void redis_link_worked(struct redis_link *link, enum redis_use use);
void redis_link_failed(struct redis_link *link, enum redis_use use, const char *why);

/* Report an error reply, which is counted. */
void redis_link_refused(struct redis_link *link, enum redis_use use,
                        const struct redis_reply *error);

#endif
