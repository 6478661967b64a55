/* SPDX-License-Identifier: MIT */
#include "redis_session.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>

#include <apikeyd/clock/clock.h>

#include "redis_tls.h"

enum { PENDING_FIRST = 64, FEED_MAX = 16 << 10, TLS_ALERT = 0x15 /* RFC 8446, 5.1 */ };

struct pending {
    void (*done)(void *arg, const struct redis_reply *reply);
    void *arg;
    int64_t sent_us;
};

struct redis_session {
    struct bufferevent *stream;
    struct redis_reader *reader;
    struct pending *pending; /* a ring of `cap`, a power of two */
    size_t first, len, cap;
    void (*ended)(void *arg, enum redis_end end, const char *why);
    void *arg;
    bool remote;  /* no Unix socket */
    bool heard;   /* bytes have come */
    bool over;    /* the session has ended: it sends and reads nothing */
    bool reading; /* a caller handles a reply: free the session after that */
    bool freed;
};

static void release(struct redis_session *session)
{
    if (session->stream)
        bufferevent_free(session->stream);
    redis_reader_free(session->reader);
    free(session->pending);
    free(session);
}

static void end(struct redis_session *session, enum redis_end how, const char *why)
{
    if (session->over)
        return;
    session->over = true;
    bufferevent_disable(session->stream, EV_READ | EV_WRITE);
    session->ended(session->arg, how, why);
}

static bool push(struct redis_session *session, const struct pending *pending)
{
    if (session->len == session->cap) {
        size_t cap = session->cap ? 2 * session->cap : PENDING_FIRST;
        struct pending *ring = malloc(cap * sizeof *ring);

        if (!ring)
            return false;
        for (size_t i = 0; i < session->len; i++)
            ring[i] = session->pending[(session->first + i) % session->cap];
        free(session->pending);
        session->pending = ring;
        session->first = 0;
        session->cap = cap;
    }
    session->pending[(session->first + session->len++) % session->cap] = *pending;
    return true;
}

static struct pending pop(struct redis_session *session)
{
    struct pending pending = session->pending[session->first];

    session->first = (session->first + 1) % session->cap;
    session->len--;
    return pending;
}

/* Hand out the replies that are whole. */
static void deliver(struct redis_session *session)
{
    const struct redis_reply *reply;
    int taken = 0;

    while (!session->over && (taken = redis_reader_take(session->reader, &reply)) > 0) {
        if (session->len == 0) {
            end(session, REDIS_END_NONSENSE, "it answers what it was not asked");
            return;
        }
        struct pending pending = pop(session);
        pending.done(pending.arg, reply);
    }
    if (session->over || taken == 0)
        return;
    if (taken == -EMSGSIZE)
        end(session, REDIS_END_TOO_LONG,
            "a reply is longer than any of apikeyd's own values can make it");
    else
        end(session, REDIS_END_NONSENSE, "it does not speak Redis's protocol (RESP2)");
}

static void on_readable(struct bufferevent *stream, void *arg)
{
    struct redis_session *session = arg;
    struct evbuffer *input = bufferevent_get_input(stream);
    struct evbuffer_iovec chunk;

    session->reading = true;
    if (!session->heard && evbuffer_get_length(input) > 0 &&
        *evbuffer_pullup(input, 1) == TLS_ALERT)
        end(session, REDIS_END_NONSENSE, "it speaks TLS at this port: rediss:// is needed");
    session->heard = true;
    while (!session->over && evbuffer_get_length(input) > 0) {
        evbuffer_peek(input, FEED_MAX, NULL, &chunk, 1);
        size_t len = chunk.iov_len < FEED_MAX ? chunk.iov_len : FEED_MAX;
        bool fed = redis_reader_feed(session->reader, chunk.iov_base, len);

        evbuffer_drain(input, len);
        if (fed)
            deliver(session);
        else
            end(session, REDIS_END_LOST, "out of memory");
    }
    session->reading = false;
    if (session->freed)
        release(session);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    const struct redis_session *session = arg;
    int error = EVUTIL_SOCKET_ERROR();
    const SSL *tls = bufferevent_openssl_get_ssl(stream);
    char scratch[REDIS_TLS_WHY_SIZE];
    const char *why = NULL;

    if (tls && what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        why = redis_tls_fault(tls, bufferevent_get_openssl_error(stream), scratch);
    else if (session->remote && !session->heard &&
             (what & BEV_EVENT_EOF || (what & BEV_EVENT_ERROR && error == ECONNRESET)))
        why = "it closed the connection before any reply; a port of TLS needs rediss://";
    if (why)
        end(arg, REDIS_END_LOST, why);
    else if (what & BEV_EVENT_ERROR && error != 0)
        end(arg, REDIS_END_LOST, evutil_socket_error_to_string(error));
    else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        end(arg, REDIS_END_LOST, "the connection was closed");
}

/* A socket that is connected or connecting, or a negative errno. */
static int open_socket(const struct sockaddr *address, socklen_t len)
{
    int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (address->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, address, len) < 0 && errno != EINPROGRESS) {
        int error = errno;

        close(fd);
        return -error;
    }
    return fd;
}

/* The stream owns both; without one, neither is left. */
static struct bufferevent *open_stream(struct event_base *base, int fd, SSL *tls)
{
    struct bufferevent *stream =
        tls ? bufferevent_openssl_socket_new(base, fd, tls, BUFFEREVENT_SSL_CONNECTING,
                                             BEV_OPT_CLOSE_ON_FREE)
            : bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

    if (!stream) {
        SSL_free(tls);
        close(fd);
    }
    return stream;
}

int redis_session_new(const struct redis_session_setup *setup, struct redis_session **ret)
{
    struct redis_session *session = calloc(1, sizeof *session);
    int fd = session ? open_socket(setup->address, setup->address_len) : -ENOMEM;

    if (fd < 0) {
        SSL_free(setup->tls);
        free(session);
        return fd;
    }
    session->remote = setup->address->sa_family != AF_UNIX;
    session->ended = setup->ended;
    session->arg = setup->arg;
    session->reader = redis_reader_new();
    session->stream = open_stream(setup->base, fd, setup->tls);
    if (!session->reader || !session->stream) {
        release(session);
        return -ENOMEM;
    }
    bufferevent_setcb(session->stream, on_readable, NULL, on_event, session);
    bufferevent_enable(session->stream, EV_READ | EV_WRITE);
    *ret = session;
    return 0;
}

void redis_session_free(struct redis_session *session)
{
    if (!session)
        return;
    assert(!session->freed);
    session->over = true;
    bufferevent_disable(session->stream, EV_READ | EV_WRITE);
    while (session->len > 0) {
        struct pending pending = pop(session);

        pending.done(pending.arg, NULL);
    }
    session->freed = true;
    if (!session->reading)
        release(session);
}

bool redis_session_send(struct redis_session *session, struct slice request,
                        void (*done)(void *arg, const struct redis_reply *reply), void *arg)
{
    struct evbuffer *output = bufferevent_get_output(session->stream);

    if (session->over || session->len == REDIS_PENDING_MAX ||
        evbuffer_get_length(output) + request.len > REDIS_OUTPUT_MAX)
        return false;
    if (!push(session, &(struct pending){done, arg, clock_monotonic_us()}))
        return false;
    /* A part of a command must not go out: the order of replies would be lost. */
    if (evbuffer_expand(output, request.len) < 0 ||
        evbuffer_add(output, request.at, request.len) < 0) {
        session->len--;
        return false;
    }
    return true;
}

bool redis_session_half_full(const struct redis_session *session)
{
    return session->len >= REDIS_PENDING_MAX / 2 ||
           evbuffer_get_length(bufferevent_get_output(session->stream)) >= REDIS_OUTPUT_MAX / 2;
}

int64_t redis_session_waits_since(const struct redis_session *session, int64_t now_us)
{
    return session->len > 0 ? session->pending[session->first].sent_us : now_us;
}
