/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/config_draft.h>

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/base/blot.h>
#include <apikeyd/base/edit_distance.h>

#include "config_file.h"

enum { NAME_SIZE = 128 };

/* The file's reader: the section that it is in. */
struct reading {
    struct config_draft *draft;
    char section[NAME_SIZE];
    bool known;
};

static struct config_origin *origin_of(const struct config_draft *draft,
                                       const struct option *option)
{
    return &draft->origin[option - option_table];
}

static void variable_name(const struct option *option, const char *name, char ret[NAME_SIZE])
{
    snprintf(ret, NAME_SIZE, "APIKEYD_%s_%s", option->section, name);
    for (char *at = ret; *at; at++)
        *at = (char)toupper((unsigned char)*at);
}

/* An error in a line of the file. */
__attribute__((format(printf, 3, 4))) static void fail_at(struct config_draft *draft, int line,
                                                          const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_printf(draft->errors, "%s:%d: %s\n", draft->path, line, text);
    draft->failed = true;
}

static bool is_default(const struct config_origin *origin)
{
    return !origin->environment && origin->line == 0;
}

/* The option's name as it was given. */
static const char *given_name(const struct config_draft *draft, const struct option *option)
{
    const struct config_origin *origin = origin_of(draft, option);
    bool old = origin->environment ? origin->variable_is_old : origin->line_is_old;

    return old ? option->old_name : option->name;
}

static void append_place(const struct config_draft *draft, const struct option *option,
                         struct buffer *out)
{
    const struct config_origin *origin = origin_of(draft, option);
    char variable[NAME_SIZE];

    variable_name(option, given_name(draft, option), variable);
    if (origin->environment)
        buffer_text(out, variable);
    else if (origin->line > 0)
        buffer_printf(out, "%s:%d", draft->path, origin->line);
    else
        buffer_text(out, "the default");
}

static bool all_are_paths(const char *list)
{
    while (list[strspn(list, " ")] == '/') {
        list += strcspn(list, ",");
        if (*list == '\0')
            return true;
        list++;
    }
    return false;
}

/* Returns whether a wrong value may be, or hold, a secret. libpq explains the fault of a DSN, and
 * the fault may be in the form of its password. A secret may also stand where a file's path
 * belongs. */
static bool is_private(const struct option *option, const char *value)
{
    return option->type == OPTION_DSN || (option->type == OPTION_SECRET_FILE && value[0] != '/') ||
           (option->type == OPTION_SECRET_FILES && !all_are_paths(value));
}

/* `value` as it was given. */
static void append_error(struct config_draft *draft, const struct option *option, const char *value,
                         const char *expected)
{
    struct buffer *out = draft->errors;
    struct buffer shown = {0};

    if (option->type == OPTION_REDIS_URL)
        blot_passwords(value, &shown);
    else
        buffer_text(&shown, value);
    if (!is_default(origin_of(draft, option))) {
        append_place(draft, option, out);
        buffer_text(out, ": ");
    }
    buffer_printf(out, "%s.%s", option->section, given_name(draft, option));
    if (!is_private(option, value)) {
        buffer_text(out, " \"");
        blot_control(buffer_held(&shown), out);
        buffer_text(out, "\"");
    }
    buffer_printf(out, "%s: %s\n", is_default(origin_of(draft, option)) ? " (the default)" : "",
                  expected);
    buffer_free(&shown);
    origin_of(draft, option)->wrong = true;
    draft->failed = true;
}

static void set(struct config_draft *draft, const struct option *option, const char *value)
{
    char scratch[256];
    struct buffer whole = {0};

    if (option->old_prefix && given_name(draft, option) == option->old_name)
        buffer_text(&whole, option->old_prefix);
    buffer_text(&whole, value);
    buffer_append(&whole, "", 1);
    const char *expected = option_parse(option, whole.data, draft->config, scratch, sizeof scratch);
    origin_of(draft, option)->wrong = false;
    if (expected)
        append_error(draft, option, value, expected);
    explicit_bzero(whole.data, whole.len);
    buffer_free(&whole);
}

/* Returns the table's option with the nearest name, or NULL if none is near. */
static const struct option *nearest_option(const char *section, const char *name)
{
    const struct option *nearest = NULL;
    size_t nearest_distance = EDIT_DISTANCE_TYPO + 1;

    for (size_t i = 0; i < option_count; i++) {
        size_t distance = strcmp(option_table[i].section, section) == 0
                              ? edit_distance(name, option_table[i].name)
                              : EDIT_DISTANCE_FAR;

        if (distance < nearest_distance) {
            nearest = &option_table[i];
            nearest_distance = distance;
        }
    }
    /* The right name in another section. */
    for (size_t i = 0; i < option_count && !nearest; i++) {
        if (strcmp(option_table[i].name, name) == 0)
            nearest = &option_table[i];
    }
    return nearest;
}

static void on_section(void *arg, int line, const char *section)
{
    struct reading *reading = arg;
    const char *nearest = NULL;
    struct buffer shown = {0};

    snprintf(reading->section, sizeof reading->section, "%s", section);
    reading->known = false;
    for (size_t i = 0; i < option_count && !reading->known; i++) {
        reading->known = strcmp(option_table[i].section, section) == 0;
        if (edit_distance(section, option_table[i].section) <= EDIT_DISTANCE_TYPO)
            nearest = option_table[i].section;
    }
    if (reading->known)
        return;
    blot_control((struct slice){section, strlen(section)}, &shown);
    buffer_append(&shown, "", 1);
    if (nearest)
        fail_at(reading->draft, line, "[%s]: there is no such section; did you mean [%s]?",
                shown.data, nearest);
    else
        fail_at(reading->draft, line,
                "[%s]: there is no such section; apikeyd --sample-config lists them all",
                shown.data);
    buffer_free(&shown);
}

static void unknown_option(struct reading *reading, int line, const char *name)
{
    const struct option *nearest = nearest_option(reading->section, name);
    struct buffer shown = {0};

    blot_control((struct slice){name, strlen(name)}, &shown);
    buffer_append(&shown, "", 1);
    if (nearest)
        fail_at(reading->draft, line, "%s.%s: there is no such option; did you mean %s.%s?",
                reading->section, shown.data, nearest->section, nearest->name);
    else
        fail_at(reading->draft, line,
                "%s.%s: there is no such option; apikeyd --sample-config lists them all",
                reading->section, shown.data);
    buffer_free(&shown);
}

static void set_already(struct reading *reading, int line, const struct option *option,
                        const char *name)
{
    const struct config_origin *origin = origin_of(reading->draft, option);
    const char *before = origin->line_is_old ? option->old_name : option->name;

    if (strcmp(before, name) == 0)
        fail_at(reading->draft, line, "%s.%s: line %d sets it already; one of them has to go",
                option->section, name, origin->line);
    else
        fail_at(reading->draft, line,
                "%s.%s: line %d sets it already as %s.%s; one of them has to go", option->section,
                name, origin->line, option->section, before);
}

static void on_option(void *arg, int line, const char *name, const char *value)
{
    struct reading *reading = arg;
    const struct option *option = option_find(reading->section, name);
    bool old = !option && (option = option_find_old(reading->section, name));

    if (!reading->section[0]) {
        fail_at(reading->draft, line, "a [section] is needed before the first option");
        return;
    }
    if (!reading->known)
        return; /* the section was complained about */
    if (!option) {
        unknown_option(reading, line, name);
        return;
    }
    struct config_origin *origin = origin_of(reading->draft, option);
    if (origin->line > 0) {
        set_already(reading, line, option, name);
        return;
    }
    origin->line = line;
    origin->line_is_old = old;
    set(reading->draft, option, value);
}

static void on_wrong(void *arg, int line, const char *expected)
{
    struct reading *reading = arg;

    fail_at(reading->draft, line, "%s", expected);
}

/* False when it cannot be read. */
static bool load_file(struct config_draft *draft)
{
    struct reading reading = {.draft = draft};
    struct buffer text = {0};
    int error = config_file_read(draft->path, &text);

    if (error == 0)
        config_file_parse(&text, &(struct config_reader){.section = on_section,
                                                         .option = on_option,
                                                         .wrong = on_wrong,
                                                         .arg = &reading});
    else if (error == -EFBIG)
        buffer_printf(draft->errors, "%s: a configuration of at most 1 MiB is needed\n",
                      draft->path);
    else
        buffer_printf(draft->errors, "%s: the configuration cannot be read: %s\n", draft->path,
                      strerror(-error));
    buffer_free(&text);
    return error == 0;
}

static void load_environment(struct config_draft *draft)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char variable[NAME_SIZE], old_variable[NAME_SIZE];
        const char *value, *old_value = NULL;

        variable_name(option, option->name, variable);
        value = getenv(variable);
        if (option->old_name) {
            variable_name(option, option->old_name, old_variable);
            old_value = getenv(old_variable);
        }
        if (value && old_value) {
            buffer_printf(draft->errors, "%s: %s sets it already; one of them has to go\n",
                          old_variable, variable);
            draft->failed = true;
        }
        if (!value && !old_value)
            continue;
        draft->origin[i].environment = true;
        draft->origin[i].variable_is_old = !value;
        set(draft, option, value ? value : old_value);
    }
}

/* Returns the edit distance from the name to the option's variable, by the nearer of its two
 * names. */
static size_t distance_of(const struct option *option, const char *name)
{
    char variable[NAME_SIZE];
    size_t distance, old_distance = EDIT_DISTANCE_FAR;

    variable_name(option, option->name, variable);
    distance = edit_distance(variable, name);
    if (option->old_name) {
        variable_name(option, option->old_name, variable);
        old_distance = edit_distance(variable, name);
    }
    return old_distance < distance ? old_distance : distance;
}

/* A variable of an option, except for a typing error. Other variables, such as containers get for
 * their neighbours (APIKEYD_REDIS_PORT=tcp://…), are not the daemon's. */
static void check_variables(struct config_draft *draft)
{
    for (char **at = environ; at && *at; at++) {
        size_t len = strcspn(*at, "=");
        char name[NAME_SIZE], variable[NAME_SIZE];
        bool known = len >= sizeof name || strncmp(*at, "APIKEYD_", 8) != 0;
        const struct option *nearest = NULL;

        if (known)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)len, *at);
        for (size_t i = 0; i < option_count && !known; i++) {
            size_t distance = distance_of(&option_table[i], name);

            known = distance == 0;
            if (distance <= EDIT_DISTANCE_TYPO)
                nearest = &option_table[i];
        }
        if (known || !nearest)
            continue;
        variable_name(nearest, nearest->name, variable);
        buffer_printf(draft->errors, "%s: there is no such option; did you mean %s?\n", name,
                      variable);
        draft->failed = true;
    }
}

int config_draft_open(struct config_draft *draft, const char *path, struct buffer *errors)
{
    char scratch[256];

    *draft = (struct config_draft){
        .path = path,
        .config = calloc(1, sizeof *draft->config),
        .origin = calloc(option_count, sizeof *draft->origin),
        .errors = errors,
    };
    for (size_t i = 0; draft->config && draft->origin && i < option_count; i++) {
        /* Every default is valid, so a failure means out of memory. */
        draft->failed = draft->failed || option_parse(&option_table[i], option_table[i].value,
                                                      draft->config, scratch, sizeof scratch);
    }
    if (!draft->config || !draft->origin || draft->failed) {
        buffer_text(errors, "out of memory\n");
        draft->failed = true;
        (void)config_draft_close(draft);
        return -ENOMEM;
    }
    if (path && !load_file(draft)) {
        draft->failed = true;
        (void)config_draft_close(draft);
        return -EINVAL;
    }
    load_environment(draft);
    check_variables(draft);
    return 0;
}

struct config *config_draft_close(struct config_draft *draft)
{
    struct config *config = draft->config;

    free(draft->origin);
    draft->origin = NULL;
    draft->config = NULL;
    if (!draft->failed)
        return config;
    config_free(config);
    return NULL;
}

static const struct option *named(const char *name)
{
    char section[NAME_SIZE];
    size_t len = strcspn(name, ".");

    snprintf(section, sizeof section, "%.*s", (int)len, name);
    const struct option *option = option_find(section, name + len + 1);
    assert(option);
    return option;
}

void config_draft_fail(struct config_draft *draft, const char *name, const char *expected, ...)
{
    const struct option *option = named(name);
    struct buffer value = {0};
    char text[512];
    va_list args;

    if (origin_of(draft, option)->wrong)
        return;
    va_start(args, expected);
    vsnprintf(text, sizeof text, expected, args);
    va_end(args);
    option_print(option, draft->config, &value);
    buffer_append(&value, "", 1);
    append_error(draft, option, value.data, text);
    buffer_free(&value);
}

bool config_draft_sound(const struct config_draft *draft, const char *name)
{
    return !origin_of(draft, named(name))->wrong;
}

/* `old` and `now` are names of one kind: of the file or of the environment. */
static void append_deprecated(const struct option *option, const char *old, const char *now,
                              struct buffer *out)
{
    buffer_printf(out, "%s is deprecated; its name is %s now", old, now);
    if (option->old_prefix)
        buffer_printf(out, ", where the value starts with %s", option->old_prefix);
    buffer_text(out, "\n");
}

void config_draft_deprecated(const struct config_draft *draft, struct buffer *out)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        const struct config_origin *origin = &draft->origin[i];
        char old[NAME_SIZE], now[NAME_SIZE];

        if (origin->line_is_old) {
            snprintf(old, sizeof old, "%s.%s", option->section, option->old_name);
            snprintf(now, sizeof now, "%s.%s", option->section, option->name);
            buffer_printf(out, "%s:%d: ", draft->path, origin->line);
            append_deprecated(option, old, now, out);
        }
        if (!origin->variable_is_old)
            continue;
        variable_name(option, option->old_name, old);
        variable_name(option, option->name, now);
        append_deprecated(option, old, now, out);
    }
}

void config_draft_place(const struct config_draft *draft, const char *name, struct buffer *out)
{
    append_place(draft, named(name), out);
}
