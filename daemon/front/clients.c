/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "apikeyd/connection.h"
#include "serving.h"
#include "turn.h"

void clients_init(struct clients *clients)
{
    TAILQ_INIT(&clients->all);
    TAILQ_INIT(&clients->unsettled);
    clients->reserve_fd = -1;
    turn_begin(clients);
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
    if (connection->unsettled)
        return;
    connection->unsettled = true;
    TAILQ_INSERT_TAIL(&connection->clients->unsettled, connection, in_unsettled);
}

bool clients_settle(struct clients *clients)
{
    struct connection *connection;

    /* What was done since the last turn for those who were seen meanwhile does not count: they
     * cannot keep the queue from going on. */
    turn_begin(clients);
    while (!turn_is_over(clients) && (connection = TAILQ_FIRST(&clients->unsettled))) {
        TAILQ_REMOVE(&clients->unsettled, connection, in_unsettled);
        connection->unsettled = false;
        connection_serve(connection);
    }
    turn_begin(clients);
    clients->turns++;
    return TAILQ_EMPTY(&clients->unsettled);
}

void clients_cut_off(struct clients *clients, int64_t before_us)
{
    struct connection *connection;

    TAILQ_FOREACH(connection, &clients->all, in_all)
    {
        if (connection->behind_us == 0 || connection->behind_us >= before_us)
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
