/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/option.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/base/blot.h>
#include <apikeyd/config/config.h>

#include "option_text.h"

/* Longest unit first, so that printing takes the largest that divides. Days are read, and printed
 * in hours. */
struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {
    {"h", INT64_C(3600000000)},  {"m", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1},
    {"d", INT64_C(86400000000)}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {NULL, 0},
};

const struct option *option_find(const char *section, const char *name)
{
    for (size_t i = 0; i < option_count; i++) {
        if (strcmp(option_table[i].section, section) == 0 &&
            strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    }
    return NULL;
}

const struct option *option_find_old(const char *section, const char *name)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->old_name && strcmp(option->section, section) == 0 &&
            strcmp(option->old_name, name) == 0)
            return option;
    }
    return NULL;
}

static void *field_of(const struct option *option, void *config)
{
    return (char *)config + option->offset;
}

/* Read a whole number and the text after it. A number that is too large becomes the largest. */
static bool split_number(const char *text, int base, int64_t *ret, const char **ret_rest)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    *ret = strtoll(text, &end, base);
    *ret_rest = end;
    return true;
}

/* Numbers with a unit. 0 needs none. */
static const char *parse_units(const char *text, const struct unit *units, const char *expected,
                               int64_t *ret)
{
    const char *rest;
    int64_t number;

    if (!split_number(text, 10, &number, &rest))
        return expected;
    if (number == 0 && *rest == '\0') {
        *ret = 0;
        return NULL;
    }
    for (const struct unit *unit = units; unit->name; unit++) {
        if (strcmp(rest, unit->name) == 0) {
            if (__builtin_mul_overflow(number, unit->factor, ret))
                return "a smaller number is needed";
            return NULL;
        }
    }
    return expected;
}

static const char *parse_number(const struct option *option, const char *text, int64_t *ret)
{
    const char *rest;

    switch (option->type) {
    case OPTION_DURATION:
        return parse_units(text, durations, "a duration needs a unit: us, ms, s, m, h or d (20ms)",
                           ret);
    case OPTION_SIZE:
        return parse_units(text, sizes, "a size needs a unit: B, KiB, MiB or GiB (64MiB)", ret);
    case OPTION_MODE:
        if (!split_number(text, 8, ret, &rest) || *rest)
            return "an octal file mode is needed (0660)";
        return NULL;
    default:
        if (!split_number(text, 10, ret, &rest) || *rest)
            return "a whole number is needed";
        return NULL;
    }
}

static void print_units(int64_t number, const struct unit *units, struct buffer *out)
{
    const struct unit *unit = units;

    while (unit[1].name && (number % unit->factor != 0 || number == 0))
        unit++;
    /* Zero reads best in seconds or bytes. */
    if (number == 0)
        unit = units == durations ? &durations[2] : unit;
    buffer_printf(out, "%" PRId64 "%s", number / unit->factor, unit->name);
}

static const char *parse_bounded(const struct option *option, const char *text, void *field,
                                 char *scratch, size_t scratch_size)
{
    int64_t number = 0;
    const char *wrong = parse_number(option, text, &number);

    if (wrong)
        return wrong;
    if (number < option->min || number > option->max) {
        struct buffer bounds = {0};

        if (option->type == OPTION_DURATION || option->type == OPTION_SIZE) {
            const struct unit *units = option->type == OPTION_SIZE ? sizes : durations;

            print_units(option->min, units, &bounds);
            buffer_append(&bounds, " to ", 4);
            print_units(option->max, units, &bounds);
        } else {
            const char *format = option->type == OPTION_MODE ? "%04" PRIo64 " to %04" PRIo64
                                                             : "%" PRId64 " to %" PRId64;

            buffer_printf(&bounds, format, option->min, option->max);
        }
        snprintf(scratch, scratch_size, "it must be from %.*s", (int)bounds.len, bounds.data);
        buffer_free(&bounds);
        return scratch;
    }
    memcpy(field, &number, sizeof number);
    return NULL;
}

static const char *parse_bool(const char *text, bool *field)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"yes", true},    {"no", false}, {"true", true},
                 {"false", false}, {"on", true},  {"off", false}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            *field = words[i].value;
            return NULL;
        }
    }
    return "yes or no is needed";
}

static const char *parse_choice(const struct option *option, const char *text, uint64_t *field,
                                char *scratch, size_t scratch_size)
{
    struct buffer list = {0};

    for (size_t i = 0; option->choices[i]; i++) {
        if (strcasecmp(text, option->choices[i]) == 0) {
            *field = i;
            buffer_free(&list);
            return NULL;
        }
        buffer_printf(&list, "%s%s", i > 0 ? ", " : "", option->choices[i]);
    }
    snprintf(scratch, scratch_size, "it must be one of: %.*s", (int)list.len, list.data);
    buffer_free(&list);
    return scratch;
}

static const char *parse_ids(const char *text, struct id_list *field)
{
    static const char *const expected = "numeric IDs with commas in between are needed (33,1000)";
    struct id_list list = {0};

    for (const char *at = text; *at;) {
        int64_t id;

        while (*at == ' ')
            at++;
        /* The last number is no ID (chown(2): leave it as it is). */
        if (!split_number(at, 10, &id, &at) || id >= UINT32_MAX)
            return expected;
        while (*at == ' ')
            at++;
        if (*at == ',')
            at++;
        else if (*at)
            return expected;
        if (list.len == ID_LIST_MAX)
            return "at most 64 IDs are taken";
        list.id[list.len++] = (uint32_t)id;
    }
    *field = list;
    return NULL;
}

static const char *parse_text(const char *text, char **field)
{
    char *copy = strdup(text);

    if (!copy)
        return "out of memory";
    free(*field);
    *field = copy;
    return NULL;
}

const char *option_parse(const struct option *option, const char *text, void *config, char *scratch,
                         size_t scratch_size)
{
    void *field = field_of(option, config);

    if (option_is_text(option->type)) {
        const char *wrong = option_text_wrong(option, text, scratch, scratch_size);

        return wrong ? wrong : parse_text(text, field);
    }
    switch (option->type) {
    case OPTION_BOOL:
        return parse_bool(text, field);
    case OPTION_CHOICE:
        return parse_choice(option, text, field, scratch, scratch_size);
    case OPTION_IDS:
        return parse_ids(text, field);
    case OPTION_SOURCES:
        return key_sources_parse(text, option->choices, field, scratch, scratch_size);
    case OPTION_KEY_PREFIXES:
        return key_prefixes_parse(text, field, scratch, scratch_size);
    case OPTION_ATTRIBUTES:
        return attribute_columns_parse(text, field, scratch, scratch_size);
    default:
        return parse_bounded(option, text, field, scratch, scratch_size);
    }
}

void option_print(const struct option *option, const void *config, struct buffer *out)
{
    const void *field = (const char *)config + option->offset;
    const struct id_list *ids = field;
    int64_t number = 0;

    if (option_is_text(option->type)) {
        buffer_text(out, *(char *const *)field);
        return;
    }
    switch (option->type) {
    case OPTION_BOOL:
        buffer_printf(out, "%s", *(const bool *)field ? "yes" : "no");
        return;
    case OPTION_CHOICE:
        buffer_printf(out, "%s", option->choices[*(const uint64_t *)field]);
        return;
    case OPTION_IDS:
        for (size_t i = 0; i < ids->len; i++)
            buffer_printf(out, "%s%" PRIu32, i > 0 ? "," : "", ids->id[i]);
        return;
    case OPTION_SOURCES:
        key_sources_print(field, out);
        return;
    case OPTION_KEY_PREFIXES:
        key_prefixes_print(field, out);
        return;
    case OPTION_ATTRIBUTES:
        attribute_columns_print(field, out);
        return;
    default:
        break;
    }
    memcpy(&number, field, sizeof number);
    if (option->type == OPTION_DURATION)
        print_units(number, durations, out);
    else if (option->type == OPTION_SIZE)
        print_units(number, sizes, out);
    else
        buffer_printf(out, option->type == OPTION_MODE ? "%04" PRIo64 : "%" PRId64, number);
}

void option_show(const struct option *option, const void *config, struct buffer *out)
{
    const void *field = (const char *)config + option->offset;

    if (option->type == OPTION_DSN || option->type == OPTION_REDIS_URL)
        blot_passwords(*(char *const *)field, out);
    else
        option_print(option, config, out);
}

void option_clear(const struct option *option, void *config)
{
    char **text = field_of(option, config);

    if (!option_is_text(option->type))
        return;
    free(*text);
    *text = NULL;
}
