/* SPDX-License-Identifier: MIT */
#include "spill_keeper.h"

#include <string.h>
#include <sys/stat.h>

void spill_keeper_init(struct spill_keeper *keeper, struct back_env *env, enum spill_state state,
                       const struct usage_batch *pending)
{
    struct stat status;

    *keeper = (struct spill_keeper){
        .env = env,
        .state = state,
        .exists = state == SPILL_WHOLE && pending->len > 0,
        .whole = state == SPILL_WHOLE || pending->len == 0,
        .size = stat(env->config->usage_spill, &status) == 0 ? (int64_t)status.st_size : 0,
    };
}

enum spill_order spill_keeper_order(const struct spill_keeper *keeper,
                                    const struct usage_batch *pending)
{
    if (pending->len == 0)
        return keeper->exists ? SPILL_REMOVE : SPILL_LEAVE;
    if (keeper->whole)
        return SPILL_LEAVE;
    return keeper->state == SPILL_OFF_LIMITS ? SPILL_FORBIDDEN : SPILL_WRITE;
}

static void take_write(struct spill_keeper *keeper, int error)
{
    const char *path = keeper->env->config->usage_spill;
    uint64_t *count = keeper->env->metrics.value;

    if (error < 0) {
        count[METRIC_SPILL_FAILURES]++;
        if (!keeper->failure_logged)
            log_warning(&keeper->env->log,
                        "usage.spill %s: %s; pending usage stays in the ledger only", path,
                        strerror(-error));
        keeper->failure_logged = true;
        return;
    }
    count[METRIC_SPILL_WRITES]++;
    keeper->failure_logged = false;
    keeper->exists = true;
    keeper->whole = true;
}

static void take_removal(struct spill_keeper *keeper, int error)
{
    if (error < 0)
        log_warning(&keeper->env->log, "usage.spill %s: cannot be removed: %s",
                    keeper->env->config->usage_spill, strerror(-error));
    keeper->exists = error < 0;
    keeper->whole = true;
}

void spill_keeper_take(struct spill_keeper *keeper, const struct usage_settle *settle)
{
    if (settle->spill_size >= 0)
        keeper->size = settle->spill_size;
    if (settle->order == SPILL_WRITE || settle->order == SPILL_FORBIDDEN)
        take_write(keeper, settle->error);
    else if (settle->order == SPILL_REMOVE)
        take_removal(keeper, settle->error);
    else if (settle->batch.len == 0)
        keeper->whole = true;
}
