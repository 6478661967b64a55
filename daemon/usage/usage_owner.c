/* SPDX-License-Identifier: MIT */
#include "usage_owner.h"

#include <errno.h>
#include <string.h>

#include <apikeyd/base/state_file.h>
#include <apikeyd/clock/clock.h>

#include "ledger_keeper.h"

/* How long verdicts of a store are used after lookups are no longer answered from it. */
static int64_t memory_us(const struct usage_owner *owner)
{
    const struct config *config = owner->env->config;

    return config->cache_ttl + config->cache_ttl_unlinked + config->cache_stale_max;
}

void usage_owner_init(struct usage_owner *owner, struct back_env *env, struct ledger *ledger)
{
    *owner = (struct usage_owner){.env = env, .ledger = ledger};
    usage_owner_renewed(owner);
}

void usage_owner_renewed(struct usage_owner *owner)
{
    if (store_id_known(&owner->owner))
        return;
    owner->owner = *ledger_owner(owner->ledger);
    owner->left = *ledger_left(owner->ledger);
    owner->found = true;
    owner->mixed = store_id_known(&owner->left);
}

/* The earlier store, while usage may still belong to it, or zeros. */
static struct store_id still_left(const struct usage_owner *owner)
{
    const struct store_id none = {0};
    bool over = !owner->found && owner->left_us < clock_monotonic_us();

    return over ? none : owner->left;
}

static struct store_id home_of(const struct usage_owner *owner)
{
    const struct store_id *home = &owner->env->stores.home;

    return (struct store_id){home->system, 0, home->database, home->table, 0};
}

bool usage_owner_due(const struct usage_owner *owner, struct usage_move *ret)
{
    const struct stores *stores = &owner->env->stores;
    bool changes = stores->has_home && !store_id_same_table(&owner->owner, &stores->home);

    *ret = (struct usage_move){.owner = owner->owner, .left = still_left(owner)};
    bool over = !store_id_same_table(&ret->left, &owner->left);
    ret->aside[0] = owner->left;
    if (changes) {
        ret->owner = home_of(owner);
        ret->left = ret->aside[1] = owner->owner;
    }
    if (store_id_same_table(&ret->aside[0], &ret->owner))
        ret->aside[0] = (struct store_id){0};
    ret->look = stores->has_home && (changes || !owner->looked);
    return changes || over || ret->look || store_id_known(&ret->aside[0]);
}

static void take_change(struct usage_owner *owner, struct usage_move *move)
{
    char from[STORE_TEXT_SIZE], to[STORE_TEXT_SIZE];

    store_id_to_text(&owner->owner, from);
    store_id_to_text(&move->owner, to);
    log_warning(&owner->env->log,
                "usage: last_used of %zu keys belongs to store %s, but lookups are answered from "
                "%s; it is set aside beside usage.spill until that store is back",
                move->batch.len, from, to);
    owner->env->metrics.value[METRIC_USAGE_ASIDE] += move->batch.len;
    owner->left_us = clock_monotonic_us() + memory_us(owner);
    owner->found = !owner->answered;
    if (!owner->mixed)
        usage_batch_free(&move->batch);
}

/* Usage set aside for the owner is pending again. */
static bool take_back(struct usage_owner *owner, struct usage_move *move)
{
    const struct usage_batch *back = &move->back;
    const struct log *log = &owner->env->log;
    const char *why = state_file_fault(move->look_error);
    char path[SPILL_PATH_SIZE] = "";

    (void)spill_aside_path(move->spill, &move->owner, path);
    if (move->look_error == -EBADMSG)
        why = "the file is damaged; its whole entries are used, and the file stays";
    else if (move->look_error == -EMEDIUMTYPE)
        why = "its IDs are of another type than postgres.id_type; the file stays";
    if (move->look_error < 0)
        log_warning(log, "usage: reading the usage set aside in %s: %s", path, why);
    if (back->len == 0 || !usage_batch_merge(&move->batch, back->slots, back->len))
        return false;
    log_info(log, "usage: last_used of %zu keys, set aside in %s, is pending again", back->len,
             path);
    return move->look_error == 0;
}

/* Note the owners in the ledger, now that usage of other stores is on disk. */
static void note(struct usage_owner *owner, const struct store_id *now, const struct store_id *left)
{
    int error = 0;

    if (!store_id_same_table(&owner->owner, now) || !store_id_same_table(&owner->left, left))
        error = ledger_set_owner(owner->ledger, now, left);
    if (error < 0)
        log_warning(&owner->env->log, "usage.ledger: cannot note its owner: %s", strerror(-error));
    owner->owner = *now;
    owner->left = *left;
}

/* A third store at once is not noted: the ledger has room for two names. */
void usage_owner_leads_to_home(struct usage_owner *owner, bool mixed)
{
    const struct store_id home = home_of(owner);
    const struct store_id left = still_left(owner);

    owner->mixed = owner->mixed || mixed;
    if (!store_id_known(&owner->owner) ||
        (store_id_known(&left) && !store_id_same_table(&left, &home)))
        return;
    note(owner, &owner->owner, &home);
    owner->left_us = clock_monotonic_us() + memory_us(owner);
    owner->found = false;
}

bool usage_owner_take(struct usage_owner *owner, struct usage_move *move, bool *ret_taken)
{
    bool changes = !store_id_same_table(&owner->owner, &move->owner);

    ledger_keeper_judged(owner->env, "usage set aside", &move->judged);
    if (move->aside_error < 0) {
        if (!owner->logged)
            log_error(&owner->env->log,
                      "usage.spill %s: usage of another database cannot be set aside beside it: "
                      "%s; it stays pending, and no usage is written (logged once)",
                      move->spill, state_file_fault(move->aside_error));
        owner->logged = true;
        return false;
    }
    owner->logged = false;
    if (changes && store_id_known(&owner->owner))
        take_change(owner, move);
    if (!changes)
        move->left = still_left(owner); /* home may have changed and changed back since */
    note(owner, &move->owner, &move->left);
    owner->mixed = store_id_known(&owner->left);
    owner->answered = owner->env->stores.has_home;
    if (move->look) {
        owner->looked = true;
        *ret_taken = take_back(owner, move);
    }
    return true;
}

void usage_owner_emptied(struct usage_owner *owner, const struct usage_batch *pending)
{
    const struct store_id none = {0};

    if (!owner->found || !store_id_known(&owner->left))
        return;
    note(owner, &owner->owner, &none);
    owner->mixed = pending->len > 0;
}

enum usage_place usage_owner_place(const struct usage_owner *owner, const struct store_id *store)
{
    const struct stores *stores = &owner->env->stores;

    if (stores->has_home && !store_id_same_table(store, &stores->home))
        return USAGE_ELSEWHERE;
    if (!store_id_same_table(store, &owner->owner))
        return USAGE_NOT_YET;
    return !stores->has_home || store_id_equal(store, &stores->home) ? USAGE_HERE : USAGE_NOT_YET;
}

bool usage_owner_settled(const struct usage_owner *owner)
{
    const struct stores *stores = &owner->env->stores;

    return stores->has_home && store_id_same_table(&owner->owner, &stores->home);
}
