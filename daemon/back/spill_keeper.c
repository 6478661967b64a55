/* SPDX-License-Identifier: MIT */
#include "spill_keeper.h"

#include <errno.h>
#include <string.h>

void spill_keeper_init(struct spill_keeper *keeper, struct back_env *env, enum spill_state state,
                       const struct usage_batch *pending)
{
    *keeper = (struct spill_keeper){
        .env = env,
        .state = state,
        .exists = state == SPILL_WHOLE && pending->len > 0,
        .whole = state == SPILL_WHOLE || pending->len == 0,
    };
}

void spill_keeper_keep(struct spill_keeper *keeper, const struct usage_batch *pending)
{
    const char *path = keeper->env->config->usage_spill;
    uint64_t *count = keeper->env->metrics.value;

    if (keeper->whole)
        return;
    int error = keeper->state == SPILL_OFF_LIMITS ? -EACCES : spill_write(path, pending);
    if (error < 0) {
        count[METRIC_SPILL_FAILURES]++;
        if (!keeper->failure_said)
            log_warning(&keeper->env->log,
                        "usage.spill %s: %s; pending usage stays in the ledger only", path,
                        strerror(-error));
        keeper->failure_said = true;
        return;
    }
    count[METRIC_SPILL_WRITES]++;
    keeper->failure_said = false;
    keeper->exists = true;
    keeper->whole = true;
}

void spill_keeper_drop(struct spill_keeper *keeper)
{
    const char *path = keeper->env->config->usage_spill;
    int error = keeper->exists ? spill_remove(path) : 0;

    if (error < 0)
        log_warning(&keeper->env->log, "usage.spill %s: cannot be removed: %s", path,
                    strerror(-error));
    keeper->exists = error < 0;
    keeper->whole = true;
}
