/* SPDX-License-Identifier: MIT */
#include "usage_owner.h"

#include <errno.h>
#include <string.h>

#include "apikeyd/clock.h"
#include "apikeyd/spill.h"
#include "apikeyd/state_file.h"
#include "ledger_keeper.h"

void usage_owner_init(struct usage_owner *owner, struct back_env *env, struct ledger *ledger)
{
    *owner = (struct usage_owner){.env = env, .ledger = ledger, .left_us = TIME_NEVER};
}

static bool set_aside(struct usage_owner *owner, const struct usage_batch *pending,
                      const struct store_id *store)
{
    const char *path = owner->env->config->usage_spill;
    struct usage_batch batch = *pending;
    struct usage_judged judged = {0};
    int error;

    if (pending->len == 0)
        return true;
    batch.owner = *store;
    error = spill_set_aside(path, clock_wall_us(), &batch, &judged);
    ledger_keeper_judged(owner->env, "usage set aside", &judged);
    if (error < 0 && !owner->said)
        log_error(&owner->env->log,
                  "usage.spill %s: usage of another database cannot be set aside beside it: %s; it "
                  "stays pending, and none is written (logged once)",
                  path, strerror(-error));
    owner->said = error < 0;
    return error >= 0;
}

/* What was set aside for `store` when it was the owner. */
static bool take_back(struct usage_owner *owner, struct usage_batch *pending,
                      const struct store_id *store)
{
    struct usage_batch aside = {0};
    struct usage_judged judged = {0};
    char path[SPILL_PATH_SIZE];
    bool taken = false;

    if (!spill_aside_path(owner->env->config->usage_spill, store, path))
        return false;
    int error = spill_read(path, clock_wall_us(), &aside, &judged);
    ledger_keeper_judged(owner->env, path, &judged);
    if (error < 0)
        log_warning(&owner->env->log, "usage set aside in %s: %s", path,
                    error == -EBADMSG ? "it is damaged; what is whole in it is used, and it stays"
                                      : state_file_fault(error));
    if (aside.len > 0 && usage_batch_merge(pending, aside.slots, aside.len)) {
        log_info(&owner->env->log, "usage of %zu keys that was set aside in %s is pending again",
                 aside.len, path);
        taken = error == 0;
    }
    usage_batch_free(&aside);
    return taken;
}

bool usage_owner_take(struct usage_owner *owner, struct usage_batch *pending,
                      const struct store_id *store, bool *ret_aside)
{
    const struct store_id earlier = *ledger_owner(owner->ledger);
    char from[STORE_TEXT_SIZE], to[STORE_TEXT_SIZE];
    int error;

    if (store_id_known(&earlier) && store_id_same_table(&earlier, store))
        return true;
    if (store_id_known(&earlier)) {
        if (!set_aside(owner, pending, &earlier))
            return false;
        store_id_to_text(&earlier, from);
        store_id_to_text(store, to);
        log_warning(&owner->env->log,
                    "usage of %zu keys belongs to store %s, and this is %s: it is set aside beside "
                    "usage.spill, and written when that store is back",
                    pending->len, from, to);
        owner->env->metrics.value[METRIC_USAGE_ASIDE] += pending->len;
        owner->left = earlier;
        owner->left_us = clock_monotonic_us() + owner->env->config->cache_ttl +
                         owner->env->config->cache_ttl_unlinked;
        usage_batch_free(pending);
    }
    struct store_id id = {store->system, 0, store->database, store->table, 0};
    error = ledger_set_owner(owner->ledger, &id);
    if (error < 0)
        log_warning(&owner->env->log, "usage.ledger: its owner cannot be noted: %s",
                    strerror(-error));
    *ret_aside = take_back(owner, pending, store);
    return true;
}

bool usage_owner_keep_for_earlier(struct usage_owner *owner, const struct usage_batch *pending)
{
    if (owner->left_us == TIME_NEVER)
        return true;
    if (!set_aside(owner, pending, &owner->left))
        return false;
    if (owner->left_us < clock_monotonic_us())
        owner->left_us = TIME_NEVER;
    return true;
}
