/* quantum: a small request does not wait behind connections that ask for much.
 *
 * One thread serves all connections, so a single request may have to wait for all the work that the
 * thread does before it polls again. A quantum bounds that work to the work of QUANTUM cache hits.
 * Each loop iteration has one quantum for the connections that have become readable, and one for
 * the connections that queue (clients->queue) because their requests exceeded an earlier quantum. A
 * connection that has sent a small request is served out of order, so it does not wait behind that
 * queue. Neither does a connection that only has replies to be written.
 *
 * New connections wait while others queue, except in every ITERATIONS_TO_ACCEPT-th iteration:
 * otherwise clients that connect, ask and go would fill the queue faster than the thread empties
 * it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUANTUM_H
#define APIKEYD_QUANTUM_H

#include <stdbool.h>
#include <stddef.h>

enum {
    QUANTUM = 64,
    /* Other work, in cache hits: a request that leaves a reply pending, and the fixed work for each
     * connection that is served. */
    COST_OF_PENDING_REPLY = 4,
    COST_OF_VISIT = 4,
    QUANTUM_OF_SMALL_REQUEST = 4, /* served out of order */
    ITERATIONS_TO_ACCEPT = 8,
};

struct quantum {
    int left;            /* the work allowed before the next poll, in cache hits */
    unsigned iterations; /* of the event loop */
};

static inline void quantum_begin(struct quantum *quantum)
{
    quantum->left = QUANTUM;
}

static inline bool quantum_used_up(const struct quantum *quantum)
{
    return quantum->left <= 0;
}

static inline void quantum_spend(struct quantum *quantum, int work)
{
    quantum->left -= work;
}

/* Returns whether a connection that was just read from is served now; `small`: it has sent a small
 * request.
 */
static inline bool quantum_serves_now(struct quantum *quantum, bool small)
{
    if (quantum_used_up(quantum) && small)
        quantum->left = QUANTUM_OF_SMALL_REQUEST;
    return !quantum_used_up(quantum);
}

/* Returns whether new connections are accepted; `queued`: others queue. */
static inline bool quantum_may_accept(const struct quantum *quantum, bool queued)
{
    return !queued || quantum->iterations % ITERATIONS_TO_ACCEPT == 0;
}

#endif
