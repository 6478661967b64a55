/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/pending_reply.h>

#include <stdlib.h>

struct hole *hole_open(struct connection *connection)
{
    struct hole *hole = calloc(1, sizeof *hole);

    if (!hole)
        return NULL;
    hole->connection = connection;
    hole->position = connection->held_base + connection->held.len;
    TAILQ_INSERT_TAIL(&connection->holes, hole, in_connection);
    connection->hole_count++;
    return hole;
}

struct hole *hole_open_heavy(struct connection *connection)
{
    struct hole *hole = hole_open(connection);

    if (hole) {
        hole->heavy = true;
        connection->heavy_count++;
    }
    return hole;
}

struct buffer *hole_reply(struct hole *hole)
{
    struct connection *connection = hole->connection;

    if (TAILQ_FIRST(&connection->holes) == hole)
        return &connection->out;
    return &hole->reply;
}

static void hole_free(struct hole *hole)
{
    buffer_free(&hole->reply);
    free(hole);
}

/* Take the first hole away: the text held up to the next one is free to go. */
static void pop_first(struct connection *connection)
{
    struct hole *hole = TAILQ_FIRST(&connection->holes);
    struct hole *next = TAILQ_NEXT(hole, in_connection);
    uint64_t end = next ? next->position : connection->held_base + connection->held.len;
    size_t len = (size_t)(end - connection->held_base);

    buffer_append(&connection->out, buffer_held(&connection->held).at, len);
    buffer_consume(&connection->held, len);
    connection->held_base = end;
    TAILQ_REMOVE(&connection->holes, hole, in_connection);
    connection->hole_count--;
    if (hole->heavy)
        connection->heavy_count--;
    hole_free(hole);
}

void hole_close(struct hole *hole)
{
    struct connection *connection = hole->connection;

    hole->answered = true;
    if (TAILQ_FIRST(&connection->holes) != hole)
        return;
    pop_first(connection);
    for (struct hole *next; (next = TAILQ_FIRST(&connection->holes)) && next->answered;) {
        struct slice reply = buffer_held(&next->reply);

        buffer_append(&connection->out, reply.at, reply.len);
        pop_first(connection);
    }
    if (TAILQ_EMPTY(&connection->holes))
        buffer_free(&connection->held);
    connection_touch(connection);
}

void holes_abandon(struct connection *connection)
{
    for (struct hole *hole; (hole = TAILQ_FIRST(&connection->holes));) {
        TAILQ_REMOVE(&connection->holes, hole, in_connection);
        connection->hole_count--;
        if (hole->heavy)
            connection->heavy_count--;
        /* Whoever answered it has let go of it already. */
        if (hole->cancel && !hole->answered)
            hole->cancel(hole->owner);
        hole_free(hole);
    }
}
