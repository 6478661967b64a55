/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/config.h>

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/config/option.h>

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < option_count; i++)
        option_clear(&option_table[i], config);
    free(config);
}

/* Set the option in `to` as it is in `from`. */
static bool copy_option(const struct option *option, const struct config *from, struct config *to)
{
    struct buffer text = {0};
    char scratch[256];
    bool copied;

    option_print(option, from, &text);
    buffer_append(&text, "", 1);
    copied = option_parse(option, text.data, to, scratch, sizeof scratch) == NULL;
    buffer_free(&text);
    return copied;
}

struct config *config_copy(const struct config *config)
{
    struct config *copy = calloc(1, sizeof *copy);

    for (size_t i = 0; copy && i < option_count; i++) {
        if (!copy_option(&option_table[i], config, copy)) {
            config_free(copy);
            return NULL;
        }
    }
    return copy;
}

void config_keep_fixed(struct config *next, const struct config *running, struct buffer *restart)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        struct buffer old = {0}, new = {0};

        option_print(option, running, &old);
        option_print(option, next, &new);
        if (!option->reloadable &&
            (old.len != new.len || (old.len > 0 && memcmp(old.data, new.data, old.len) != 0))) {
            buffer_printf(restart, "%s.%s\n", option->section, option->name);
            copy_option(option, running, next);
        }
        buffer_free(&old);
        buffer_free(&new);
    }
}

size_t config_pending_max(const struct config *config)
{
    return config->postgres_max_pending + config->postgres_max_pending / 4;
}

int64_t config_wait_max_us(const struct config *config)
{
    int64_t redis_us = config->redis_url[0] ? config->redis_timeout : 0;

    return redis_us + 2 * config->postgres_timeout + 1000000;
}

bool config_has_windows(const struct config *config)
{
    return config->postgres_not_before_column[0] || config->postgres_expires_column[0];
}

bool config_needs_clock(const struct config *config)
{
    return config_has_windows(config) || config->usage_counts != USAGE_COUNTS_OFF;
}

struct freshness_policy config_freshness_policy(const struct config *config)
{
    return (struct freshness_policy){
        .ttl_us = config->cache_ttl,
        .ttl_unlinked_us = config->cache_ttl_unlinked,
        .negative_ttl_us = config->cache_negative_ttl,
        .stale_max_us = config->cache_stale_max,
        .windowless = !config_has_windows(config),
    };
}

/* Returns whether "section.name" matches, with that name in `ret`. `name` may be NULL. */
static bool matches(const struct option *option, const char *name, const char *glob, char *ret,
                    size_t size)
{
    if (!name)
        return false;
    snprintf(ret, size, "%s.%s", option->section, name);
    return fnmatch(glob, ret, 0) == 0;
}

/* Returns the value as it stands in the file beside the deprecated name. */
static const char *by_old_name(const struct option *option, const char *value)
{
    size_t len = option->old_prefix ? strlen(option->old_prefix) : 0;

    return len > 0 && strncmp(value, option->old_prefix, len) == 0 ? value + len : value;
}

void config_each(const struct config *config, const char *glob,
                 void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        struct buffer value = {0};
        char name[128];
        bool new_name = matches(option, option->name, glob, name, sizeof name);

        if (!new_name && !matches(option, option->old_name, glob, name, sizeof name))
            continue;
        option_show(option, config, &value);
        buffer_append(&value, "", 1);
        each(arg, name, new_name ? value.data : by_old_name(option, value.data));
        buffer_free(&value);
    }
}

void config_print_sample(FILE *out)
{
    const char *section = "";

    fprintf(out, "# apikeyd.conf: every option with its default.\n"
                 "# Durations take us, ms, s, m, h; sizes B, KiB, MiB, GiB.\n"
                 "# APIKEYD_<SECTION>_<OPTION> in the environment overrides what stands here.\n");
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (strcmp(section, option->section) != 0)
            fprintf(out, "\n[%s]\n", option->section);
        section = option->section;
        fprintf(out, "\n# %s%s\n#%s = %s\n", option->help,
                option->reloadable ? "" : " A change needs a restart.", option->name,
                option->value);
    }
}

/* Help texts start no line with a character that roff would take for its own. */
void config_print_roff(FILE *out)
{
    const char *last = "";

    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (strcmp(last, option->section) != 0)
            fprintf(out, "%s.Ss [%s]\n.Bl -tag -width Ds\n", last[0] ? ".El\n" : "",
                    option->section);
        last = option->section;
        fprintf(out, ".It Cm %s Pq %s%s\n%s\n", option->name,
                option->value[0] ? option->value : "empty", option->reloadable ? "" : ", restart",
                option->help);
        if (option->old_name && option->old_prefix)
            fprintf(out,
                    "The deprecated name\n.Cm %s\nis still taken, with a value that lacks\n"
                    ".Cm %s .\n",
                    option->old_name, option->old_prefix);
        else if (option->old_name)
            fprintf(out, "The deprecated name\n.Cm %s\nis still taken.\n", option->old_name);
    }
    fprintf(out, ".El\n");
}

void config_print_markdown(FILE *out)
{
    fprintf(out, "| option | default | reload | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        fprintf(out, "| `%s.%s` | %s%s%s | %s | %s", option->section, option->name,
                option->value[0] ? "`" : "", option->value, option->value[0] ? "`" : "",
                option->reloadable ? "yes" : "restart", option->help);
        if (option->old_name)
            fprintf(out, " Deprecated: `%s.%s`%s%s%s.", option->section, option->old_name,
                    option->old_prefix ? ", with a value that lacks `" : "",
                    option->old_prefix ? option->old_prefix : "", option->old_prefix ? "`" : "");
        fprintf(out, " |\n");
    }
}
