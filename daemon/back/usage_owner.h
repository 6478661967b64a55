/* usage_owner: usage is written to the store that it belongs to, and to no other.
 *
 * The ledger names its owner. When the session that writes leads to another store (a wrong dsn, a
 * database restored elsewhere), what is pending is set aside in a file of the owner's own, the new
 * store owns the ledger from then on, and what was once set aside for it is pending again. For a
 * while after that the front may still record what it allowed by verdicts of the earlier store: so
 * long everything pending is set aside for that one as well. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_OWNER_H
#define APIKEYD_USAGE_OWNER_H

#include "apikeyd/back_env.h"
#include "apikeyd/ledger.h"

struct usage_owner {
    struct back_env *env;
    struct ledger *ledger;
    struct store_id left; /* the earlier store, … */
    int64_t left_us;      /* … and until when it may still be meant (monotonic); or TIME_NEVER */
    bool said;            /* in the log: what keeps usage from being set aside */
};

void usage_owner_init(struct usage_owner *owner, struct back_env *env, struct ledger *ledger);

/* The session leads to `store`. False when `pending` must not be written there now; else it is what
 * may be. If `store` is a new owner, sets *ret_aside: whether the file `spill_aside_path()` of it
 * is to be removed once what is pending is written or spilled. */
bool usage_owner_take(struct usage_owner *owner, struct usage_batch *pending,
                      const struct store_id *store, bool *ret_aside);

/* Before a round: false when what is pending may belong to an earlier store, and could not be set
 * aside for it. */
bool usage_owner_keep_for_earlier(struct usage_owner *owner, const struct usage_batch *pending);

#endif
