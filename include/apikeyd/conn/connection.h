/* connection: clients and their bytes.
 *
 * Reads requests, hands them to their protocol, writes replies in the order of the requests. A
 * reply that cannot be given at once is a pending reply (hole.h) in the stream. The text after it
 * is held back until the pending reply is closed:
 *
 *     requests ─▶ in ─▶ handle ─▶ out ─▶ backlog ──▶ socket
 *                          └────▶ held │pending│ text │pending│ text
 *
 * Buffers are lent to a connection while it is being served and taken back when it is idle, so a
 * quiet connection costs no buffer and a busy one allocates nothing per request. What a client does
 * not take goes to its backlog, and when that is long it is not read from. One thread owns the
 * clients, and has to ignore SIGPIPE.
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
#include <apikeyd/model/metrics.h>

enum { CLIENT_NAME_SIZE = 64 };

struct connection;
struct pending_reply;
TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(pending_reply_list, pending_reply);

/* How bytes become requests. */
struct protocol {
    const char *name;
    /* Answer the first request in `bytes`, of which there is at least one: how many it took, or 0
     * when it is not complete. */
    size_t (*handle)(void *arg, struct connection *connection, struct slice bytes);
    /* What is said to who is turned away: by allow_uids and allow_gids, or by max_connections. */
    const char *forbidden, *full;
    size_t small_request; /* at most so many bytes are one (turn.h) */
    bool timed; /* requests and replies have to go over within a time: see clients_cut_off() */
};

/* Who is on the other side. */
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
    /* Called when what could be handled is written. */
    void (*end)(void *arg);
    /* One was turned away for who it is; (uid_t)-1: nobody knows. */
    void (*refused)(void *arg, uid_t uid);
    /* A connection was refused as its process is over its share of them. */
    void (*over_share)(void *arg, const struct peer *peer, size_t connections);
    /* The last connection has gone; may be NULL. */
    void (*emptied)(void *arg);
    void *arg;

    struct connection_list all;
    /* The ready list: to be served outside of their own events. `answered` have only replies to be
     * written, `queue` wait for the next quantum (turn.h). */
    struct connection_list answered, queue;
    size_t count;
    struct process_table processes; /* whose they are */
    bool draining;                  /* what is in hand is answered, however dear */
    /* Pending replies that one connection may have before its next request has to wait. The owner
     * changes this. At least 1, or no request would ever go on. */
    size_t pending_replies_max;
    unsigned iterations; /* of the event loop: see turn.h */
    int quantum_left;    /* the work that may still be done before the next poll, in cache hits */
    size_t kept;         /* bytes of buffers that connections keep while they are not served */
    uint64_t last_id;
    int reserve_fd; /* kept for an operator who comes when there is no other descriptor, or -1 */
    struct buffer spare_in, spare_out; /* lent to whoever is being served */
};

struct connection {
    struct clients *clients;
    TAILQ_ENTRY(connection) in_all;
    TAILQ_ENTRY(connection) in_waiting;
    struct connection_list *waiting; /* one of those two, or NULL */
    const struct protocol *protocol;
    bool admin;   /* came in by the admin socket */
    bool closing; /* takes no more requests; goes when everything is answered and written */
    bool killed;  /* goes now, whatever is unwritten */
    bool paused;  /* is not read from until it takes or gets replies */
    int fd;
    struct peer peer;
    struct process *process;
    uint32_t caller; /* the same for all connections of a process, where that is known */
    uint64_t id;
    char name[CLIENT_NAME_SIZE];
    int64_t opened_us; /* monotonic */
    uint64_t requests;
    const char *last_command; /* lives forever */
    struct event readable, writable;
    struct buffer in, out, held;
    struct evbuffer *backlog; /* what is to be written before `out`; NULL: nothing */
    size_t wanted;  /* the protocol need not look at `in` before it has more bytes than this */
    size_t scanned; /* bytes of `in` that the protocol has looked at */
    /* Timed: since when the client has been behind with a request, or with taking a reply; 0: it is
     * not. Requests taken and bytes written by then, to see whether it has come on. */
    int64_t behind_us;
    uint64_t behind_requests, behind_bytes;
    uint64_t written;   /* bytes, ever */
    bool ended;         /* the client sends no more */
    bool lingering;     /* everything is written; only waits for the client to be done as well */
    size_t kept;        /* its part of clients->kept */
    uint64_t held_base; /* stream position of the first byte held */
    struct pending_reply_list pending_replies;
    size_t pending_count, expensive_count;
};

void clients_init(struct clients *clients);
/* Close every connection. */
void clients_done(struct clients *clients);

/* Serve `fd` (non-blocking; owned from here on). False, with fd closed, when memory is short. */
bool connection_open(struct clients *clients, int fd, const struct protocol *protocol, bool admin,
                     struct peer peer);

/* Where the reply to the request being handled goes. */
struct buffer *connection_reply(struct connection *connection);

/* Take no more requests; close when all is answered. */
void connection_finish(struct connection *connection);

/* Close in the next clients_settle(). */
void connection_kill(struct connection *connection);

/* Bytes of replies that are not written, for want of the client or of an answer before them. */
size_t connection_unwritten(const struct connection *connection);

/* Something was added to a connection's output outside of its own event: settle it later. */
void connection_touch(struct connection *connection);

/* Run the ready list: write what its connections have ready, go on with requests that had to wait,
 * close what is finished. To be called after each round of the event loop; false when there is more
 * to do, so that the next round shall not wait. */
bool clients_settle(struct clients *clients);

/* Close those of a timed protocol that have been behind since before `before_us`. */
void clients_cut_off(struct clients *clients, int64_t before_us);

/* Read what has already arrived, then take no more requests from anybody. Each connection is
 * closed once its replies are written. */
void clients_drain(struct clients *clients);

#endif
