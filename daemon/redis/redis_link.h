/* redis_link: whether Redis may be used, and the connection for it.
 *
 *     WAITING ──back-off──▶ RESOLVING ──▶ TRYING each address ──MGET, SET──▶ UP
 *        ▲                      └──────────────┴─ none works               │
 *        └──────────── 5 failed reads in a row, a loss, silence ◀──────────┘
 *
 * Up only after Redis has answered the commands that it is wanted for, so that a server that
 * hangs, or answers PING and nothing else, is not taken for a good one. While down it costs
 * nothing but these tries. Writes are judged apart: while Redis refuses them (it is full, or
 * cannot save), it is read all the same. A replica is not used, as what it holds may be old. Each
 * outage is logged once when it begins and once when it has been over for five seconds. Back
 * thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_LINK_H
#define APIKEYD_REDIS_LINK_H

#include <apikeyd/thread/back_env.h>

#include "redis_reply.h"

struct redis_link;

enum redis_use { REDIS_READ, REDIS_WRITE, REDIS_USES };

/* NULL when out of memory or redis.url is not one. */
struct redis_link *redis_link_new(struct back_env *env);

/* Requests under way end with no reply. Does not wait. */
void redis_link_free(struct redis_link *link);

/* Whether Redis may be asked now, or written to. */
bool redis_link_may(const struct redis_link *link, enum redis_use use);

/* Whether the queue is half full, so that fills are to be dropped. */
bool redis_link_half_full(const struct redis_link *link);

/* Send one encoded command (resp_array(), resp_bulk()). `done` is called exactly once: with the
 * reply, which holds that long, or with NULL when the connection has gone, which is counted
 * already. False, and `done` is not called, when it cannot be sent. */
__attribute__((warn_unused_result)) bool
redis_link_send(struct redis_link *link, struct slice request,
                void (*done)(void *arg, const struct redis_reply *reply), void *arg);

/* How a command went. A failure may close the connection, which calls `done` of all commands
 * under way. */
void redis_link_worked(struct redis_link *link, enum redis_use use);
void redis_link_failed(struct redis_link *link, enum redis_use use, const char *why);

/* Likewise, as an error reply says: it is counted. */
void redis_link_refused(struct redis_link *link, enum redis_use use,
                        const struct redis_reply *error);

#endif
