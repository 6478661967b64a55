/* connection: clients and their bytes.
 *
 * Reads requests, hands them to their protocol, writes replies in the order of the requests. A
 * reply that cannot be given at once is a pending reply (below) in the stream. The text after it
 * is queued until the pending reply is closed:
 *
 *     requests ─▶ in ─▶ handle ─▶ out ─▶ backlog ──▶ socket
 *                          └────▶ queued │pending│ text │pending│ text
 *
 * Buffers are lent to a connection while it is being served and taken back when it is idle, so a
 * quiet connection costs no buffer and a busy one allocates nothing per request. Bytes that a
 * client does not take go to its backlog; while the backlog is long, the client is not read from.
 * One thread owns the clients, and has to ignore SIGPIPE.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONNECTION_H
#define APIKEYD_CONNECTION_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/base/slice.h>
#include <apikeyd/conn/process_table.h>
#include <apikeyd/conn/quantum.h>
#include <apikeyd/model/metrics.h>

struct connection;
struct pending_reply;
TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(pending_reply_list, pending_reply);

/* Returned by protocol->handle: the request is answered by several calls, and this was not the
 * last. It stays the first request in `bytes` until the call that returns its length. */
#define REQUEST_GOES_ON SIZE_MAX

/* How bytes become requests. */
struct protocol {
    const char *name; /* the socket's, for CLIENT LIST */
    bool admin;       /* its clients are operators, with commands and a reserve of their own */
    /* Answer the first request in `bytes` (at least one byte). Returns the length of the request,
     * 0 when the request is incomplete, or REQUEST_GOES_ON. */
    size_t (*handle)(void *arg, struct connection *connection, struct slice bytes);
    /* The replies to refused connections: by allow_uids and allow_gids, or by max_connections. */
    const char *forbidden, *full;
    size_t small_request; /* the longest small request, in bytes (quantum.h) */
    bool timed;           /* requests and replies have a time limit: see clients_cut_off() */
    size_t state_size;    /* of connection->state */
    /* Returns the client's name for itself, or "". NULL: clients of this protocol have no names. */
    const char *(*client_name)(const struct connection *connection);
    /* The connection ends: free what its state owns. Called once, after the pending replies were
     * cancelled, at shutdown too. NULL: the state owns nothing. */
    void (*close)(struct connection *connection);
};

/* The process on the other side. */
struct peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

struct clients {
    struct event_base *base;
    struct metrics *metrics;
    /* Called before the requests of one read are handled. */
    void (*begin)(void *arg);
    /* Called after the replies to the handled requests are written. */
    void (*end)(void *arg);
    /* allow_uids and allow_gids refused a connection; (uid_t)-1: its user is not known. */
    void (*refused)(void *arg, uid_t uid);
    /* A connection was refused because its process is over its share of connections. */
    void (*over_share)(void *arg, const struct peer *peer, size_t connections);
    /* The last connection has gone; may be NULL. */
    void (*emptied)(void *arg);
    void *arg;

    struct connection_list all;
    /* The ready list: to be served outside of their own events. `answered` have only replies to be
     * written, `queue` wait for the next quantum (quantum.h). */
    struct connection_list answered, queue;
    size_t count;
    struct process_table processes; /* the processes that own the connections */
    bool draining;                  /* requests in hand are answered, however expensive */
    /* Pending replies that one connection may have before its next request has to wait; fewer while
     * much is retained. The owner changes this. At least 1, or no request would ever go on. */
    size_t pending_replies_max;
    struct quantum quantum;
    size_t retained; /* bytes of buffers that connections hold between two loop iterations */
    uint64_t last_id;
    int reserve_fd; /* kept for an operator's connection when no other descriptor is free, or -1 */
    struct buffer spare_in, spare_out; /* lent to the connection being served */
};

struct connection {
    struct clients *clients;
    TAILQ_ENTRY(connection) in_all;
    TAILQ_ENTRY(connection) in_waiting;
    struct connection_list *waiting; /* one of those two, or NULL */
    const struct protocol *protocol;
    void *state;  /* the protocol's, zeros at first; freed with the connection */
    bool closing; /* takes no more requests; is closed once everything is answered and written */
    bool killed;  /* is closed now, even with unwritten bytes */
    bool paused;  /* is not read from until it takes or gets replies */
    int fd;
    struct peer peer;
    struct process *process;
    uint32_t process_id; /* for admission; the connection's own where its process is not known */
    uint64_t id;
    int64_t opened_us; /* monotonic */
    uint64_t requests;
    const char *last_command; /* lives forever */
    struct event readable, writable;
    struct buffer in, out, queued;
    struct evbuffer *backlog; /* bytes to write before `out`; NULL: none */
    size_t state_bytes; /* that the protocol has allocated for `state`: they count as retained */
    size_t wanted;      /* the protocol need not look at `in` before it has more bytes than this */
    /* Timed: since when the client has been stalled, with a request or with taking a reply; 0: it
     * is not. The requests taken and bytes written by then, to detect progress. */
    int64_t stalled_us;
    uint64_t progress_requests, progress_bytes;
    uint64_t written;     /* bytes, ever */
    bool ended;           /* the client sends no more */
    bool lingering;       /* everything is written; waits only for the client to finish */
    size_t retained;      /* its part of clients->retained */
    uint64_t queued_base; /* stream position of the first byte queued */
    struct pending_reply_list pending_replies;
    size_t pending_count, expensive_count;
};

void clients_init(struct clients *clients);
/* Close every connection. */
void clients_done(struct clients *clients);

/* Serve `fd` (non-blocking; owned from here on). False, with fd closed, when out of memory. */
bool connection_open(struct clients *clients, int fd, const struct protocol *protocol,
                     struct peer peer);

/* Returns the buffer for the reply to the request being handled. */
struct buffer *connection_reply(struct connection *connection);

/* Take no more requests; close when all is answered. */
void connection_finish(struct connection *connection);

/* Close in the next clients_run_ready(). */
void connection_kill(struct connection *connection);

/* Returns the bytes of replies that are not written yet, because the client does not take them or
 * an earlier answer is missing. */
size_t connection_unwritten(const struct connection *connection);

/* Returns how many bytes one connection may make the daemon retain now: fewer while all connections
 * together make it retain many. */
size_t connection_bytes_max(const struct connection *connection);

/* Put a connection on the ready list, for example when output was added outside of its own
 * event. */
void connection_schedule(struct connection *connection);

/* Run the ready list: write what its connections have ready, go on with requests that had to wait,
 * close what is finished. Call it after each iteration of the event loop. False when there is more
 * to do: the next iteration must not wait. */
bool clients_run_ready(struct clients *clients);

/* Returns whether new connections are accepted in this iteration: see quantum.h. */
bool clients_may_accept(const struct clients *clients);

/* Close the connections of timed protocols that have been stalled since before `before_us`. */
void clients_cut_off(struct clients *clients, int64_t before_us);

/* Read all bytes that have already arrived, then take no more requests. Each connection is closed
 * once its replies are written. */
void clients_drain(struct clients *clients);

/* Pending reply: a place in a client's reply stream whose reply is still to come.
 *
 * Each pending reply ends exactly once: its owner closes it with the reply, or `cancel` tells the
 * owner that the client has gone, at shutdown too.
 */
struct pending_reply {
    struct connection *connection;
    TAILQ_ENTRY(pending_reply) in_connection;
    uint64_t position; /* of the reply in the stream of queued text */
    bool answered;
    bool expensive; /* the reply is long or costs the back thread work: a client may have only a few
                     */
    struct buffer reply; /* until the pending replies before it are closed */
    /* The client has gone: drop the pointer to the pending reply, which is freed next. */
    void (*cancel)(void *owner);
    void *owner;
};

/* Open a pending reply in the place of the reply to the request being handled. NULL when out of
 * memory. */
struct pending_reply *pending_reply_open(struct connection *connection);

/* As pending_reply_open(), for a reply that is long or expensive: the client's next request waits
 * while the client has a few of these. */
struct pending_reply *pending_reply_open_expensive(struct connection *connection);

/* The buffer to write the reply to; pending_reply_close() must follow. */
struct buffer *pending_reply_buffer(struct pending_reply *pending);

/* The reply is written; this frees the pending reply. */
void pending_reply_close(struct pending_reply *pending);

#endif
