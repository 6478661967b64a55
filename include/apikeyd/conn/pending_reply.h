/* pending_reply: a reply that is still to come, and its place among a client's replies.
 *
 * Each hole ends exactly once: it is closed by its reply, or its owner is told that the client has
 * gone, at shutdown too.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PENDING_REPLY_H
#define APIKEYD_PENDING_REPLY_H

#include <apikeyd/conn/connection.h>

struct hole {
    struct connection *connection;
    TAILQ_ENTRY(hole) in_connection;
    uint64_t position; /* in the stream of text held back: this is where the reply belongs */
    bool answered;
    bool heavy; /* its reply is long or costs the other thread work: only a few for each client */
    struct buffer reply; /* until the holes before it are closed */
    /* The client has gone: let go of the hole, which is freed next. */
    void (*cancel)(void *owner);
    void *owner;
};

/* A hole where the reply to the request being handled belongs. NULL when memory is short. */
struct hole *hole_open(struct connection *connection);

/* The same for a reply that is long or dear: the client's next request waits while there are a few
 * of them. */
struct hole *hole_open_heavy(struct connection *connection);

/* Where to write the reply; hole_close() must follow. */
struct buffer *hole_reply(struct hole *hole);

/* The reply is written, the hole is no more. */
void hole_close(struct hole *hole);

/* Cancel all holes of a connection that is going away. */
void holes_abandon(struct connection *connection);

#endif
