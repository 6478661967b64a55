/* fair_queue: the order of waiting lookups.
 *
 * A connection that asks for a thousand keys must not make one that asks for a single key wait for
 * all of them: connections are served round robin. A hash spreads the connections over so many
 * lists that two busy ones seldom share a list (P. McKenney, "Stochastic Fairness Queueing", 1990).
 * Within a list the order is first come, first served. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FAIR_QUEUE_H
#define APIKEYD_FAIR_QUEUE_H

#include "lookup.h"

enum { FAIR_QUEUE_LISTS = 64 };

struct fair_queue {
    struct lookup_list list[FAIR_QUEUE_LISTS];
    size_t len;
    unsigned next_list; /* the next list to serve */
};

void fair_queue_init(struct fair_queue *queue);

void fair_queue_add(struct fair_queue *queue, struct lookup *lookup);

/* Returns the next lookup, or NULL when none waits. The lookup stays until it is taken. */
struct lookup *fair_queue_first(struct fair_queue *queue);
struct lookup *fair_queue_take(struct fair_queue *queue);

/* Returns the lookup with the earliest deadline (each list is in that order), or NULL when none
 * waits. */
struct lookup *fair_queue_most_urgent(struct fair_queue *queue);
void fair_queue_remove(struct fair_queue *queue, struct lookup *lookup);

#endif
