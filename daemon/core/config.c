/* SPDX-License-Identifier: MIT */
#include "apikeyd/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "apikeyd/option.h"

/* One load: the file, where its reader is, and what was wrong so far. */
struct loading {
    const char *path;
    FILE *file;
    int line;
    struct config *config;
    struct buffer *errors;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void fail(struct loading *loading, const char *format,
                                                       ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (loading->line > 0)
        buffer_printf(loading->errors, "%s:%d: %s\n", loading->path, loading->line, text);
    else
        buffer_printf(loading->errors, "%s\n", text);
    loading->failed = true;
}

/* fgets that counts lines, and stops what inih would quietly misread: lines beyond its buffer,
 * and indented ones, which it takes for more of the value before. */
static char *read_line(char *line, int size, void *arg)
{
    struct loading *loading = arg;

    if (!fgets(line, size, loading->file))
        return NULL;
    loading->line++;
    size_t len = strlen(line);
    if (len + 1 == (size_t)size && line[len - 1] != '\n') {
        int c;

        fail(loading,
             "the line is longer than %d bytes; put long values into the environment "
             "(APIKEYD_<SECTION>_<OPTION>) or a service file",
             size - 2);
        while ((c = fgetc(loading->file)) != EOF && c != '\n')
            ;
        line[0] = '\0';
    }
    const char *text = line + strspn(line, " \t");
    if (text > line && !strchr(";#\r\n", *text)) {
        fail(loading, "the line is indented; start options in the first column");
        line[0] = '\0';
    }
    return line;
}

static void set(struct loading *loading, const struct option *option, const char *name,
                const char *value)
{
    char scratch[256];
    const char *wrong = option_parse(option, value, loading->config, scratch, sizeof scratch);

    if (wrong)
        fail(loading, "%s \"%s\": %s", name, value, wrong);
}

static int handle_line(void *arg, const char *section, const char *name, const char *value)
{
    struct loading *loading = arg;
    const struct option *option = option_find(section, name);
    char full[160];

    snprintf(full, sizeof full, "%s.%s", section, name);
    if (!option)
        fail(loading, "%s: there is no such option; apikeyd --sample-config lists them all", full);
    else
        set(loading, option, full, value);
    return 1;
}

static void load_file(struct loading *loading)
{
    loading->file = fopen(loading->path, "re");
    if (!loading->file) {
        fail(loading, "%s: %s", loading->path, strerror(errno));
        return;
    }
    int wrong = ini_parse_stream(read_line, loading->file ? loading : NULL, handle_line, loading);
    if (wrong != 0) {
        loading->line = wrong > 0 ? wrong : 0;
        fail(loading, "expected [section] or option = value");
    }
    fclose(loading->file);
    loading->line = 0;
}

static void load_environment(struct loading *loading)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char name[128];

        snprintf(name, sizeof name, "APIKEYD_%s_%s", option->section, option->name);
        for (char *at = name; *at; at++)
            *at = (char)toupper((unsigned char)*at);
        const char *value = getenv(name);
        if (value)
            set(loading, option, name, value);
    }
}

/* What no single option can be held to. */
static void check_together(struct loading *loading)
{
    const struct config *config = loading->config;

    assert(config->redis_url && config->redis_prefix); /* as every text, by the table's defaults */
    if (config->postgres_key_transform != KEY_TRANSFORM_NONE &&
        !config->postgres_key_transform_secret_file[0])
        fail(loading, "postgres.key_transform needs postgres.key_transform_secret_file");
    if (config->redis_url[0] && strncmp(config->redis_url, "unix://", 7) != 0 &&
        strncmp(config->redis_url, "redis://", 8) != 0)
        fail(loading, "redis.url \"%s\": expected unix:///path or redis://host:port/db, or nothing",
             config->redis_url);
    if (strlen(config->redis_prefix) > 128)
        fail(loading, "redis.prefix: at most 128 bytes are taken");
    if (!config->listen_check[0])
        fail(loading, "listen.check: a path is needed");
    if (!config->usage_ledger[0] || !config->usage_spill[0])
        fail(loading, "usage.ledger and usage.spill: paths are needed");
}

struct config *config_load(const char *path, struct buffer *errors)
{
    struct loading loading = {.path = path, .errors = errors};
    char scratch[256];

    loading.config = calloc(1, sizeof *loading.config);
    if (!loading.config) {
        fail(&loading, "memory is short");
        return NULL;
    }
    for (size_t i = 0; i < option_count; i++) {
        if (option_parse(&option_table[i], option_table[i].value, loading.config, scratch,
                         sizeof scratch))
            fail(&loading, "%s.%s: its default is bad", option_table[i].section,
                 option_table[i].name);
    }
    if (path)
        load_file(&loading);
    load_environment(&loading);
    if (!loading.failed)
        check_together(&loading);
    if (loading.failed) {
        config_free(loading.config);
        return NULL;
    }
    return loading.config;
}

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

size_t config_pending_most(const struct config *config)
{
    return config->postgres_max_pending + config->postgres_max_pending / 4;
}

int64_t config_wait_max_us(const struct config *config)
{
    int64_t redis_us = config->redis_url[0] ? config->redis_timeout : 0;

    return redis_us + 2 * config->postgres_timeout + 1000000;
}

struct trust_policy config_trust_policy(const struct config *config)
{
    return (struct trust_policy){
        .ttl_us = config->cache_ttl,
        .ttl_unlinked_us = config->cache_ttl_unlinked,
        .negative_ttl_us = config->cache_negative_ttl,
        .stale_max_us = config->cache_stale_max,
    };
}

/* A connection string as far as it may be shown: "***" stands for what is between ":" and "@" of a
 * URI, and for everything from "password" on, as it may be written in many ways. */
static void print_dsn(const char *dsn, struct buffer *out)
{
    const char *login = strstr(dsn, "://");
    const char *at = login ? strchr(login, '@') : NULL;
    const char *colon = at ? memchr(login + 3, ':', (size_t)(at - login - 3)) : NULL;
    const char *password = strstr(colon ? at : dsn, "password");

    while (*dsn && dsn != password) {
        if (colon && dsn == colon) {
            buffer_printf(out, ":***");
            dsn = at;
        } else {
            buffer_append(out, dsn++, 1);
        }
    }
    if (password)
        buffer_printf(out, "password=***");
}

void config_each(const struct config *config, const char *glob,
                 void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; i < option_count; i++) {
        struct buffer value = {0};
        char name[128];

        snprintf(name, sizeof name, "%s.%s", option_table[i].section, option_table[i].name);
        if (fnmatch(glob, name, 0) != 0)
            continue;
        if (option_table[i].type == OPTION_DSN)
            print_dsn(*(char *const *)((const char *)config + option_table[i].offset), &value);
        else
            option_print(&option_table[i], config, &value);
        buffer_append(&value, "", 1);
        each(arg, name, value.data);
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
    }
    fprintf(out, ".El\n");
}

void config_print_markdown(FILE *out)
{
    fprintf(out, "| option | default | reload | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        fprintf(out, "| `%s.%s` | %s%s%s | %s | %s |\n", option->section, option->name,
                option->value[0] ? "`" : "", option->value, option->value[0] ? "`" : "",
                option->reloadable ? "yes" : "restart", option->help);
    }
}
