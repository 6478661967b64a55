/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include "apikeyd/resp_reply.h"

/* Names of options that need a restart go to `restart`; the reasons of a failure to `errors`. */
static bool apply(struct back_env *env, struct config **config, const char *path,
                  struct buffer *restart, struct buffer *errors)
{
    struct config *next = config_load(path, errors);
    struct config *copy;

    if (!next)
        return false;
    config_keep_fixed(next, *config, restart);
    copy = config_copy(next);
    if (!copy) {
        buffer_printf(errors, "memory is short\n");
        config_free(next);
        return false;
    }
    config_free(*config);
    *config = next;
    env->config = next;
    env->log.level = (enum log_level)next->log_level;
    back_env_post(env, &(struct to_front){.type = TO_FRONT_CONFIG, .config = copy});
    return true;
}

/* Lines become one: "a, b". */
static void join_lines(struct buffer *text)
{
    buffer_append(text, "", 1);
    for (char *at = text->data; *at; at++) {
        if (*at == '\n')
            *at = at[1] ? ' ' : '\0';
    }
}

bool reload_config(struct back_env *env, struct config **config, const char *path,
                   struct buffer *reply)
{
    struct buffer restart = {0};
    struct buffer errors = {0};
    bool reloaded = apply(env, config, path, &restart, &errors);

    join_lines(&restart);
    join_lines(&errors);
    if (!reloaded) {
        log_error(&env->log, "reload: nothing changed: %s", errors.data);
        resp_error(reply, "ERR nothing changed: %s", errors.data);
    } else if (restart.data[0]) {
        log_warning(&env->log, "reloaded; these need a restart: %s", restart.data);
        buffer_printf(reply, "+OK, but these need a restart: %s\r\n", restart.data);
    } else {
        log_info(&env->log, "reloaded");
        resp_simple(reply, "OK");
    }
    buffer_free(&restart);
    buffer_free(&errors);
    return reloaded;
}
