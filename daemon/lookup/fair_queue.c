/* SPDX-License-Identifier: MIT */
#include "fair_queue.h"

static struct lookup_list *list_of(struct fair_queue *queue, const struct lookup *lookup)
{
    return &queue->list[lookup->request.connection_id % FAIR_QUEUE_LISTS];
}

void fair_queue_init(struct fair_queue *queue)
{
    queue->len = queue->next_list = 0;
    for (unsigned i = 0; i < FAIR_QUEUE_LISTS; i++)
        TAILQ_INIT(&queue->list[i]);
}

void fair_queue_add(struct fair_queue *queue, struct lookup *lookup)
{
    TAILQ_INSERT_TAIL(list_of(queue, lookup), lookup, in_list);
    queue->len++;
}

struct lookup *fair_queue_first(struct fair_queue *queue)
{
    if (queue->len == 0)
        return NULL;
    while (TAILQ_EMPTY(&queue->list[queue->next_list]))
        queue->next_list = (queue->next_list + 1) % FAIR_QUEUE_LISTS;
    return TAILQ_FIRST(&queue->list[queue->next_list]);
}

struct lookup *fair_queue_take(struct fair_queue *queue)
{
    struct lookup *lookup = fair_queue_first(queue);

    if (!lookup)
        return NULL;
    fair_queue_remove(queue, lookup);
    queue->next_list = (queue->next_list + 1) % FAIR_QUEUE_LISTS;
    return lookup;
}

struct lookup *fair_queue_most_urgent(struct fair_queue *queue)
{
    struct lookup *urgent = NULL;

    for (unsigned i = 0; i < FAIR_QUEUE_LISTS; i++) {
        struct lookup *first = TAILQ_FIRST(&queue->list[i]);

        if (first && (!urgent || first->deadline_us < urgent->deadline_us))
            urgent = first;
    }
    return urgent;
}

void fair_queue_remove(struct fair_queue *queue, struct lookup *lookup)
{
    TAILQ_REMOVE(list_of(queue, lookup), lookup, in_list);
    queue->len--;
}
