/* redis_link: the connection to Redis, and the breaker on it.
 *
 * Up only after Redis has answered a PING, so that a hung server is not taken for a living one.
 * After five failures in a row, or a loss, it goes down: then Redis costs nothing at all until a
 * probe, made with back-off and jitter, is answered. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_LINK_H
#define APIKEYD_REDIS_LINK_H

#include <hiredis/async.h>

#include "apikeyd/back_env.h"

struct redis_link;

/* NULL when memory is short or redis.url is not one. */
struct redis_link *redis_link_new(struct back_env *env);
void redis_link_free(struct redis_link *link);

/* For sending commands now; NULL while it is down. */
redisAsyncContext *redis_link_context(struct redis_link *link);

/* How a command went. A failure may close the connection, which calls the callbacks of all
 * commands under way with no reply; so may a send. */
void redis_link_worked(struct redis_link *link);
void redis_link_failed(struct redis_link *link, const char *why);

#endif
