/* quantum: whoever asks for little is not kept waiting by those who ask for much.
 *
 * One thread serves everybody, so what it does between two looks at its sockets is what a single
 * request may have to wait for. That is bounded by turns, the work of TURN_MAX answers from memory:
 * one for those who are seen in a look and one for those who queue (clients->queue) with more to
 * ask than was left of it. Who has little is served at once, out of turn, and so is not behind that
 * queue; and so is who only has to be written to, as an answer has come.
 *
 * New connections wait while others queue, but for every TURNS_TO_ACCEPT-th turn: otherwise clients
 * that connect, ask and go would fill the queue faster than it can be worked off.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUANTUM_H
#define APIKEYD_QUANTUM_H

#include <apikeyd/conn/connection.h>

enum {
    TURN_MAX = 64,
    /* What else costs, measured by an answer from memory: a request that leaves a reply pending,
     * and whatever is done once for a client, however much it asks for. */
    TURN_PENDING_REPLY = 4,
    TURN_VISIT = 4,
    TURN_LITTLE = 4, /* what is done out of turn for one who has sent little */
    TURNS_TO_ACCEPT = 8,
};

static inline void turn_begin(struct clients *clients)
{
    clients->turn_left = TURN_MAX;
}

static inline bool turn_is_over(const struct clients *clients)
{
    return clients->turn_left <= 0;
}

static inline void turn_spend(struct clients *clients, int work)
{
    clients->turn_left -= work;
}

/* Whether somebody who was just read from is served now. */
static inline bool turn_for(const struct connection *connection)
{
    struct clients *clients = connection->clients;

    if (turn_is_over(clients) && connection->in.len <= connection->protocol->little)
        clients->turn_left = TURN_LITTLE;
    return !turn_is_over(clients);
}

static inline bool turn_to_accept(const struct clients *clients)
{
    return TAILQ_EMPTY(&clients->queue) || clients->turns % TURNS_TO_ACCEPT == 0;
}

#endif
