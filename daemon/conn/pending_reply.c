/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/pending_reply.h>

#include <stdlib.h>

struct pending_reply *pending_reply_open(struct connection *connection)
{
    struct pending_reply *pending = calloc(1, sizeof *pending);

    if (!pending)
        return NULL;
    pending->connection = connection;
    pending->position = connection->held_base + connection->held.len;
    TAILQ_INSERT_TAIL(&connection->pending_replies, pending, in_connection);
    connection->pending_count++;
    return pending;
}

struct pending_reply *pending_reply_open_expensive(struct connection *connection)
{
    struct pending_reply *pending = pending_reply_open(connection);

    if (pending) {
        pending->expensive = true;
        connection->expensive_count++;
    }
    return pending;
}

struct buffer *pending_reply_buffer(struct pending_reply *pending)
{
    struct connection *connection = pending->connection;

    if (TAILQ_FIRST(&connection->pending_replies) == pending)
        return &connection->out;
    return &pending->reply;
}

static void pending_reply_free(struct pending_reply *pending)
{
    buffer_free(&pending->reply);
    free(pending);
}

/* Remove the first pending reply: the text held up to the next one is free to go. */
static void pop_first(struct connection *connection)
{
    struct pending_reply *pending = TAILQ_FIRST(&connection->pending_replies);
    struct pending_reply *next = TAILQ_NEXT(pending, in_connection);
    uint64_t end = next ? next->position : connection->held_base + connection->held.len;
    size_t len = (size_t)(end - connection->held_base);

    buffer_append(&connection->out, buffer_held(&connection->held).at, len);
    buffer_consume(&connection->held, len);
    connection->held_base = end;
    TAILQ_REMOVE(&connection->pending_replies, pending, in_connection);
    connection->pending_count--;
    if (pending->expensive)
        connection->expensive_count--;
    pending_reply_free(pending);
}

void pending_reply_close(struct pending_reply *pending)
{
    struct connection *connection = pending->connection;

    pending->answered = true;
    if (TAILQ_FIRST(&connection->pending_replies) != pending)
        return;
    pop_first(connection);
    for (struct pending_reply *next;
         (next = TAILQ_FIRST(&connection->pending_replies)) && next->answered;) {
        struct slice reply = buffer_held(&next->reply);

        buffer_append(&connection->out, reply.at, reply.len);
        pop_first(connection);
    }
    if (TAILQ_EMPTY(&connection->pending_replies))
        buffer_free(&connection->held);
    connection_touch(connection);
}

void pending_replies_abandon(struct connection *connection)
{
    for (struct pending_reply *pending; (pending = TAILQ_FIRST(&connection->pending_replies));) {
        TAILQ_REMOVE(&connection->pending_replies, pending, in_connection);
        connection->pending_count--;
        if (pending->expensive)
            connection->expensive_count--;
        /* Whoever answered it has let go of it already. */
        if (pending->cancel && !pending->answered)
            pending->cancel(pending->owner);
        pending_reply_free(pending);
    }
}
