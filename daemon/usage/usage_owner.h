/* usage_owner: writes usage only to the store that it belongs to.
 *
 * Usage belongs to the store where lookups are answered (`stores.home`), since its ALLOWs come from
 * there; the session that writes it may lead elsewhere. The ledger names the owner. When another
 * store answers lookups (a wrong dsn, a database restored elsewhere), pending usage is set aside in
 * a file of the earlier owner's own, the new store owns the ledger from then on, and usage that was
 * once set aside for the new store is pending again. For a while after that the front may still
 * record ALLOWs by verdicts of the earlier store. During that time all pending usage is set aside
 * for the earlier store as well, by the next daemon too. Back thread only.
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
    struct store_id owner; /* as noted in the ledger; zeros: not known yet */
    /* The earlier or the next owner, while usage may be its: until left_us (monotonic), or, when no
     * lookup of this daemon was answered from it (found), until what was found at the start is
     * dealt with. */
    struct store_id left;
    int64_t left_us;
    bool found;
    bool answered; /* lookups, when what is pending was last looked at */
    bool mixed;    /* what is pending may be of `owner` and of the next one */
    bool looked;   /* since the start: for usage that was set aside for the owner */
    bool logged;   /* the log names what keeps usage from being set aside */
};

void usage_owner_init(struct usage_owner *owner, struct back_env *env, struct ledger *ledger);

/* The ledger has a new file. Its content tells the owner, if the owner was not known. */
void usage_owner_renewed(struct usage_owner *owner);

/* Lookups are answered from another store than the owner. The front thread has none of that store's
 * verdicts yet. The ledger notes the store beside the owner, so a daemon that is killed from now on
 * leaves a ledger that names every possible owner. `mixed`: the half in use will hold usage of both
 * stores, and not just of the other one. */
void usage_owner_leads_to_home(struct usage_owner *owner, bool mixed);

/* Fill in the move that must precede the write of pending usage, except its batch. False: no move
 * is needed. */
bool usage_owner_due(const struct usage_owner *owner, struct usage_move *ret);

/* The move was done. False when it failed: then nothing may be written. Else the move's batch holds
 * the usage that may be written, with the usage read for the owner. *ret_taken: remove the file of
 * the latter once the batch is written or spilled. */
bool usage_owner_take(struct usage_owner *owner, struct usage_move *move, bool *ret_taken);

/* All usage found at the start, and all usage recorded until the last swap, is written or
 * spilled. */
void usage_owner_emptied(struct usage_owner *owner, const struct usage_batch *pending);

enum usage_place {
    USAGE_HERE,      /* write */
    USAGE_NOT_YET,   /* the right table, but lookups have not been answered from this server yet; or
                        the owner is not known */
    USAGE_ELSEWHERE, /* another table than that of the lookups */
};

/* Returns what to do in a session that leads to `store`. */
enum usage_place usage_owner_place(const struct usage_owner *owner, const struct store_id *store);

/* Returns whether the owner is the store where lookups are answered. */
bool usage_owner_settled(const struct usage_owner *owner);

#endif
