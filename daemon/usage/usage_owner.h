/* usage_owner: usage is written to the store that it belongs to, and to no other.
 *
 * It belongs to the store where lookups are answered (`stores.home`), since its ALLOWs come from
 * there; the session that writes it may lead elsewhere. The ledger names the owner. When lookups
 * are answered from another store (a wrong dsn, a database restored elsewhere), what is pending is
 * set aside in a file of the earlier owner's own, the new store owns the ledger from then on, and
 * what was once set aside for it is pending again. For a while after that the front may still
 * record what it allowed by verdicts of the earlier store: so long everything pending is set aside
 * for that one as well, by the next daemon too. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_OWNER_H
#define APIKEYD_USAGE_OWNER_H

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/thread/back_env.h>

#include "usage_disk.h"

struct usage_owner {
    struct back_env *env;
    struct ledger *ledger;
    struct store_id owner; /* as the ledger notes it; zeros: not known yet */
    struct store_id left;  /* the earlier one, or the next, while that may be meant: … */
    int64_t left_us; /* … until then (monotonic); or, when no lookup of this daemon was … */
    bool found;      /* … answered from it, until what was found at the start is dealt with */
    bool answered;   /* lookups, when what is pending was last looked at */
    bool mixed;      /* what is pending may be of `owner` and of the next one */
    bool looked;     /* since the start: for usage that was set aside for the owner */
    bool logged;     /* in the log: what keeps usage from being set aside */
};

void usage_owner_init(struct usage_owner *owner, struct back_env *env, struct ledger *ledger);

/* The ledger has a new file. What was found in that tells the owner, if nobody has known it. */
void usage_owner_renewed(struct usage_owner *owner);

/* Lookups are answered from another store than the owner. The front thread has none of its verdicts
 * yet. The ledger notes that store beside the owner, so that a daemon that is killed from now on
 * leaves a ledger that tells whose usage may be in it. `mixed`: the half in use will hold usage of
 * both, and not just of the other one. */
void usage_owner_leads_to_home(struct usage_owner *owner, bool mixed);

/* Fill in what has to be done on disk before what is pending may be written, but for the batch.
 * False: nothing. */
bool usage_owner_due(const struct usage_owner *owner, struct usage_move *ret);

/* That was done. False when it failed: nothing may be written then. Else the move's batch holds
 * what may be, with what was read for the owner, and *ret_taken says whether the file of that is to
 * be removed once the batch is written or spilled. */
bool usage_owner_take(struct usage_owner *owner, struct usage_move *move, bool *ret_taken);

/* All that was found at the start, and all that was recorded until the last swap, is written or
 * spilled. */
void usage_owner_emptied(struct usage_owner *owner, const struct usage_batch *pending);

enum usage_place {
    USAGE_HERE,      /* write */
    USAGE_NOT_YET,   /* the right table, but lookups have not been answered from this server yet;
                        or nobody knows whose usage it is */
    USAGE_ELSEWHERE, /* another table than lookups are answered from */
};

/* What to do in a session that leads to `store`. */
enum usage_place usage_owner_place(const struct usage_owner *owner, const struct store_id *store);

/* Whether the owner is where lookups are answered. */
bool usage_owner_settled(const struct usage_owner *owner);

#endif
