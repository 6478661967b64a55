/* SPDX-License-Identifier: MIT */
#include "pg_names.h"

#include <stdio.h>
#include <string.h>

void pg_names_lost(struct back_env *env, const char *name, const char *why)
{
    bool told = env->unresolved++ > 0 &&
                strncmp(env->unresolved_name, name, sizeof env->unresolved_name - 1) == 0;

    if (told)
        return;
    log_warning(
        &env->log,
        "postgres: the name \"%s\" is not resolved: %s; each attempt to connect tries again "
        "(logged once)",
        name, why);
    snprintf(env->unresolved_name, sizeof env->unresolved_name, "%s", name);
}

void pg_names_found(struct back_env *env)
{
    if (--env->unresolved == 0)
        log_info(&env->log, "postgres: the names of all hosts are resolved again");
}
