/* redis_session: one connection to Redis.
 *
 * Requests go out in order without waiting for one another; each one's callback is called exactly
 * once, with its reply, or with NULL when the session ends before. Both directions are bounded: a
 * session takes no more requests than may wait, and a reply that is longer than ours can be ends
 * it. A session that ends says so once, and never comes back: its owner frees it and makes
 * another. It does not judge what replies say. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_SESSION_H
#define APIKEYD_REDIS_SESSION_H

#include <sys/socket.h>

#include <event2/event.h>

#include "redis_reply.h"

struct redis_session;

/* Requests that may wait for their replies, and bytes that may wait to be sent. */
enum { REDIS_PENDING_MAX = 1 << 16, REDIS_OUTPUT_MAX = 16 << 20 };

enum redis_end {
    REDIS_END_LOST,     /* by the other side or the network */
    REDIS_END_TOO_LONG, /* a reply is longer than REDIS_REPLY_MAX */
    REDIS_END_NONSENSE, /* not Redis's protocol, or a reply to nothing */
};

struct redis_session_setup {
    struct event_base *base;
    const struct sockaddr *address;
    socklen_t address_len;
    /* Not called after redis_session_free(), which may be called in it. */
    void (*ended)(void *arg, enum redis_end end, const char *why);
    void *arg;
};

/* Connect: requests may be sent at once, and wait. Sets *ret; a negative errno when it failed
 * already. */
__attribute__((warn_unused_result)) int redis_session_new(const struct redis_session_setup *setup,
                                                          struct redis_session **ret);

/* Close it. The callbacks of all requests under way are called with NULL. May be called in any
 * callback of the session. */
void redis_session_free(struct redis_session *session);

/* Send one encoded command. The reply holds while `done` runs. False, and `done` is not called,
 * when too much is waiting already. */
__attribute__((warn_unused_result)) bool
redis_session_send(struct redis_session *session, struct slice request,
                   void (*done)(void *arg, const struct redis_reply *reply), void *arg);

/* Whether half of what may wait is waiting: then requests that can be dropped are. */
bool redis_session_half_full(const struct redis_session *session);

/* When the oldest request that has no reply yet was sent (monotonic, µs); `now_us` when there is
 * none. */
int64_t redis_session_waits_since(const struct redis_session *session, int64_t now_us);

#endif
