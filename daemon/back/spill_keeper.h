/* spill_keeper: has what is pending on disk while PostgreSQL does not take it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SPILL_KEEPER_H
#define APIKEYD_SPILL_KEEPER_H

#include "apikeyd/back_env.h"
#include "apikeyd/spill.h"
#include "apikeyd/usage_batch.h"

struct spill_keeper {
    struct back_env *env;
    enum spill_state state;
    bool exists; /* the file, which may hold entries */
    bool whole;  /* it holds all that is pending, perhaps more */
    bool failure_said;
};

/* `pending` is what was read from the file at the start. */
void spill_keeper_init(struct spill_keeper *keeper, struct back_env *env, enum spill_state state,
                       const struct usage_batch *pending);

/* Write `pending` to the file, unless it holds it already. When that fails, `whole` stays false. */
void spill_keeper_keep(struct spill_keeper *keeper, const struct usage_batch *pending);

/* Nothing is pending: remove the file. */
void spill_keeper_drop(struct spill_keeper *keeper);

#endif
