/* spill_keeper: knows the content of the spill file, and decides its fate after a round.
 *
 * Pending usage must be on disk while PostgreSQL does not take it. Back thread only; the disk
 * thread executes the orders. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SPILL_KEEPER_H
#define APIKEYD_SPILL_KEEPER_H

#include <apikeyd/ledger/spill.h>
#include <apikeyd/thread/back_env.h>

#include "usage_disk.h"

struct spill_keeper {
    struct back_env *env;
    enum spill_state state;
    bool exists; /* the file, which may hold entries */
    bool whole;  /* it holds all pending usage, perhaps more */
    bool failure_logged;
    int64_t size; /* of the file, bytes; 0: there is none */
};

/* `pending` is the usage read from the file at the start. */
void spill_keeper_init(struct spill_keeper *keeper, struct back_env *env, enum spill_state state,
                       const struct usage_batch *pending);

/* Returns the order by which the file will hold all of `pending`. */
enum spill_order spill_keeper_order(const struct spill_keeper *keeper,
                                    const struct usage_batch *pending);

/* The order was tried. `whole` then holds the result. */
void spill_keeper_take(struct spill_keeper *keeper, const struct usage_settle *settle);

#endif
