/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include <string.h>

#include <apikeyd/back/config_check.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/wire/resp_reply.h>

/* The check of the configuration has read the files, so one that fails now has just gone. */
static struct key_hasher *make_hasher(const struct config *config, struct buffer *errors)
{
    struct buffer why = {0};
    struct key_hasher *hasher = config_key_hasher(config, &why, NULL);

    if (!hasher)
        buffer_printf(errors, "postgres.key_transform_secret_file: %.*s\n", (int)why.len, why.data);
    buffer_free(&why);
    return hasher;
}

/* Returns whether other keys than before can exist. */
static bool has_other_form(const struct config *next, const struct config *config)
{
    return next->keys_form != config->keys_form ||
           (next->keys_form != KEY_FORM_ANY &&
            !key_prefixes_equal(&next->keys_prefix, &config->keys_prefix));
}

/* Returns whether keys are found in another way than before. */
static bool finds_otherwise(const struct config *next, const struct key_hasher *hasher,
                            const struct back_env *env)
{
    return !key_hasher_equal(hasher, env->hasher) || has_other_form(next, env->config) ||
           strcmp(next->postgres_key_column, env->config->postgres_key_column) != 0 ||
           strcmp(next->postgres_key_column_fallback, env->config->postgres_key_column_fallback) !=
               0;
}

/* Verdicts that were read in the old way must not be used, not even by requests under way. */
static void forget_old_way(struct back_env *env)
{
    env->key_scheme++;
    freshness_everything_changed(&env->freshness, clock_monotonic_us());
    back_env_post_freshness(env);
    log_info(&env->log, "reload: keys have another form than before, or are found by other columns "
                        "or secrets; every key is looked up again");
}

/* Names of options that need a restart go to `restart`, the reasons of a failure to `errors`, and
 * deprecated names to `warnings`. */
static bool apply(struct back_env *env, struct config **config, const char *path,
                  struct buffer *restart, struct buffer *errors, struct buffer *warnings)
{
    struct config *next = NULL;
    struct config *copy;

    if (config_check(path, &next, errors, warnings) < 0)
        return false;
    config_keep_fixed(next, *config, restart);
    copy = config_copy(next);
    struct key_hasher *hasher = make_hasher(next, errors);
    struct key_hasher *for_front = hasher ? key_hasher_copy(hasher) : NULL;
    if (!copy || !for_front) {
        if (hasher)
            buffer_text(errors, "out of memory\n");
        config_free(next);
        config_free(copy);
        key_hasher_free(hasher);
        return false;
    }
    struct freshness_policy policy = config_freshness_policy(next);
    bool otherwise = finds_otherwise(next, hasher, env);
    config_free(*config);
    *config = next;
    env->config = next;
    freshness_set_policy(&env->freshness, &policy);
    env->log.level = (enum log_level)next->log_level;
    key_hasher_free(env->hasher);
    env->hasher = hasher;
    if (otherwise)
        forget_old_way(env);
    back_env_post(env, &(struct to_front){.type = TO_FRONT_CONFIG,
                                          .configured = {copy, for_front, env->key_scheme}});
    return true;
}

/* Lines become one, with `separator` in between. */
static void join_lines(const struct buffer *lines, const char *separator, struct buffer *out)
{
    for (size_t i = 0; i < lines->len; i++) {
        if (lines->data[i] != '\n')
            buffer_append(out, &lines->data[i], 1);
        else if (i + 1 < lines->len)
            buffer_text(out, separator);
    }
}

static void log_lines(const struct log *log, enum log_level level, const struct buffer *lines)
{
    struct slice rest = buffer_held(lines), line;

    while (slice_take_line(&rest, &line))
        log_write(log, level, "reload: %.*s", (int)line.len, line.at);
}

bool reload_config(struct back_env *env, struct config **config, const char *path,
                   struct buffer *reply)
{
    struct buffer restart = {0};
    struct buffer errors = {0};
    struct buffer names = {0};
    struct buffer warnings = {0};
    bool reloaded = apply(env, config, path, &restart, &errors, &warnings);

    log_lines(&env->log, LOG_LEVEL_WARNING, &warnings);
    join_lines(&restart, " ", &names);
    if (!reloaded) {
        log_lines(&env->log, LOG_LEVEL_ERROR, &errors);
        log_error(&env->log, "reload: the configuration has errors; nothing changed");
        buffer_text(reply, "-ERR nothing changed: ");
        join_lines(&errors, "; ", reply);
        buffer_text(reply, "\r\n");
    } else if (names.len > 0) {
        log_warning(&env->log, "reloaded; these need a restart: %.*s", (int)names.len, names.data);
        buffer_printf(reply, "+OK, but these need a restart: %.*s\r\n", (int)names.len, names.data);
    } else {
        log_info(&env->log, "reloaded");
        resp_simple(reply, "OK");
    }
    buffer_free(&restart);
    buffer_free(&errors);
    buffer_free(&names);
    buffer_free(&warnings);
    return reloaded;
}
