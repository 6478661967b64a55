/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include <apikeyd/conn/connection.h>

#include "quantum.h"
#include "serving.h"

void clients_init(struct clients *clients)
{
    TAILQ_INIT(&clients->all);
    TAILQ_INIT(&clients->answered);
    TAILQ_INIT(&clients->queue);
    clients->reserve_fd = -1;
    quantum_begin(clients);
}

void clients_done(struct clients *clients)
{
    for (struct connection *connection; (connection = TAILQ_FIRST(&clients->all));)
        connection_close(connection);
    buffer_free(&clients->spare_in);
    buffer_free(&clients->spare_out);
    if (clients->reserve_fd >= 0)
        close(clients->reserve_fd);
}

void connection_touch(struct connection *connection)
{
    struct clients *clients = connection->clients;

    if (connection->waiting)
        return;
    connection->waiting = connection->in.len > 0 ? &clients->queue : &clients->answered;
    TAILQ_INSERT_TAIL(connection->waiting, connection, in_waiting);
}

static void serve_first(struct connection_list *waiting)
{
    struct connection *connection = TAILQ_FIRST(waiting);

    TAILQ_REMOVE(waiting, connection, in_waiting);
    connection->waiting = NULL;
    connection_serve(connection);
}

bool clients_settle(struct clients *clients)
{
    while (!TAILQ_EMPTY(&clients->answered))
        serve_first(&clients->answered);
    /* Work for small requests does not count here: they cannot keep the queue from going on. */
    quantum_begin(clients);
    while (!quantum_used_up(clients) && !TAILQ_EMPTY(&clients->queue))
        serve_first(&clients->queue);
    quantum_begin(clients);
    clients->iterations++;
    return TAILQ_EMPTY(&clients->queue);
}

void clients_cut_off(struct clients *clients, int64_t before_us)
{
    struct connection *connection;

    TAILQ_FOREACH(connection, &clients->all, in_all)
    {
        bool ours = connection->waiting && !connection->lingering; /* it waits in the queue */

        if (connection->behind_us == 0 || connection->behind_us >= before_us || ours ||
            connection->killed)
            continue;
        clients->metrics->value[METRIC_CUT_OFF] += !connection->lingering;
        connection_kill(connection);
    }
}

void clients_drain(struct clients *clients)
{
    struct connection *connection, *next;

    clients->draining = true;
    for (connection = TAILQ_FIRST(&clients->all); connection; connection = next) {
        next = TAILQ_NEXT(connection, in_all);
        if (connection->lingering)
            connection_kill(connection);
        if (!connection->closing)
            connection_drain(connection);
        connection_touch(connection);
    }
}
