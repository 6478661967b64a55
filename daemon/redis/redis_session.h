/* redis_session: one connection to Redis.
 *
 * Requests go out in order without waiting for one another; each one's callback is called exactly
 * once, with its reply, or with NULL when the session ends before. Both directions are bounded: a
 * session accepts a limited number of waiting requests, and a reply longer than any of ours ends
 * the session. A session reports its end once, and never comes back: its owner frees it and makes
 * another. The session does not judge the content of replies. With TLS, requests wait until the
 * handshake has ended and the server's certificate is good. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_SESSION_H
#define APIKEYD_REDIS_SESSION_H

#include <sys/socket.h>

#include <event2/event.h>

#include "redis_reply.h"

struct redis_session;
struct ssl_st;

/* Maximum of requests that wait for replies, and of bytes that wait to be sent. */
enum { REDIS_PENDING_MAX = 1 << 16, REDIS_OUTPUT_MAX = 16 << 20 };

enum redis_end {
    REDIS_END_LOST,     /* by the other side or the network */
    REDIS_END_TOO_LONG, /* a reply is longer than REDIS_REPLY_MAX */
    REDIS_END_NONSENSE, /* not Redis's protocol, or a reply without a request */
};

struct redis_session_setup {
    struct event_base *base;
    const struct sockaddr *address;
    socklen_t address_len;
    struct ssl_st *tls; /* NULL: none. The session owns it, also when redis_session_new() fails. */
    /* Not called after redis_session_free(), which may be called in it. */
    void (*ended)(void *arg, enum redis_end end, const char *why);
    void *arg;
};

/* Connect: requests may be sent at once, and wait. Returns 0 and sets *ret, or -errno when the
 * connection failed at once. */
__attribute__((warn_unused_result)) int redis_session_new(const struct redis_session_setup *setup,
                                                          struct redis_session **ret);

/* Close it. The callbacks of all requests under way are called with NULL. May be called in any
 * callback of the session. */
void redis_session_free(struct redis_session *session);

/* Send one encoded command. The reply is valid while `done` runs. False, and `done` is not called,
 * when too much waits already. */
__attribute__((warn_unused_result)) bool
redis_session_send(struct redis_session *session, struct slice request,
                   void (*done)(void *arg, const struct redis_reply *reply), void *arg);

/* Returns whether the queue is half full: then drop requests that can be dropped. */
bool redis_session_half_full(const struct redis_session *session);

/* Returns when the oldest request without a reply was sent (monotonic, µs); `now_us` when there is
 * none. */
int64_t redis_session_waits_since(const struct redis_session *session, int64_t now_us);

#endif
