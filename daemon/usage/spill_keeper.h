/* spill_keeper: knows what the spill file holds, and what has to become of it after a round.
 *
 * What is pending must be on disk while PostgreSQL does not take it. Back thread only; the disk
 * thread carries out what is ordered here. */
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
    bool whole;  /* it holds all that is pending, perhaps more */
    bool failure_logged;
    int64_t size; /* of the file, bytes; 0: there is none */
};

/* `pending` is what was read from the file at the start. */
void spill_keeper_init(struct spill_keeper *keeper, struct back_env *env, enum spill_state state,
                       const struct usage_batch *pending);

/* What has to be done with the file so that it holds all of `pending`. */
enum spill_order spill_keeper_order(const struct spill_keeper *keeper,
                                    const struct usage_batch *pending);

/* It was tried. `whole` tells what came of it. */
void spill_keeper_take(struct spill_keeper *keeper, const struct usage_settle *settle);

#endif
