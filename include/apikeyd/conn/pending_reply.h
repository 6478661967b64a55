/* pending_reply: a reply that is still to come, and its place among a client's replies.
 *
 * Each pending reply ends exactly once: its owner closes it with the reply, or is told that the
 * client has gone, at shutdown too.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PENDING_REPLY_H
#define APIKEYD_PENDING_REPLY_H

#include <apikeyd/conn/connection.h>

struct pending_reply {
    struct connection *connection;
    TAILQ_ENTRY(pending_reply) in_connection;
    uint64_t position; /* in the stream of text held back: this is where the reply belongs */
    bool answered;
    bool expensive; /* the reply is long or costs the back thread work: a client may have only a few
                     */
    struct buffer reply; /* until the pending replies before it are closed */
    /* The client has gone: let go of the pending reply, which is freed next. */
    void (*cancel)(void *owner);
    void *owner;
};

/* A pending reply where the reply to the request being handled belongs. NULL when memory is short.
 */
struct pending_reply *pending_reply_open(struct connection *connection);

/* The same for a reply that is long or expensive: the client's next request waits while the client
 * has a few of them. */
struct pending_reply *pending_reply_open_expensive(struct connection *connection);

/* The buffer to write the reply to; pending_reply_close() must follow. */
struct buffer *pending_reply_buffer(struct pending_reply *pending);

/* The reply is written; this frees the pending reply. */
void pending_reply_close(struct pending_reply *pending);

/* Cancel all pending replies of a connection that is going away. */
void pending_replies_abandon(struct connection *connection);

#endif
