/* SPDX-License-Identifier: MIT */
#include "apikeyd/counters.h"

#include <inttypes.h>

enum counter_kind { COUNTER, GAUGE };

static const struct {
    const char *section, *name, *help;
    enum counter_kind kind;
} table[COUNTER_COUNT] = {
#define X(enumerator, section, name, kind, help) {section, name, help, kind},
    COUNTERS(X)
#undef X
};

void counters_add(struct counters *target, const struct counters *addend)
{
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        target->value[i] += addend->value[i];
}

void counters_print_info(const struct counters *counters, const char *section, struct buffer *out)
{
    const char *last = "";

    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        if (section[0] && strcasecmp(section, table[i].section) != 0)
            continue;
        if (strcmp(last, table[i].section) != 0)
            buffer_printf(out, "\r\n# %s\r\n", table[i].section);
        last = table[i].section;
        buffer_printf(out, "%s:%" PRIu64 "\r\n", table[i].name, counters->value[i]);
    }
}

void counters_print_metrics(const struct counters *counters, struct buffer *out)
{
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        const char *suffix = table[i].kind == COUNTER ? "_total" : "";

        buffer_printf(out,
                      "# HELP apikeyd_%s%s %s.\n# TYPE apikeyd_%s%s %s\napikeyd_%s%s %" PRIu64 "\n",
                      table[i].name, suffix, table[i].help, table[i].name, suffix,
                      table[i].kind == COUNTER ? "counter" : "gauge", table[i].name, suffix,
                      counters->value[i]);
    }
}

void counters_print_markdown(FILE *out)
{
    fprintf(out, "| INFO section | name | kind | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        fprintf(out, "| %s | `%s` | %s | %s |\n", table[i].section, table[i].name,
                table[i].kind == COUNTER ? "counter" : "gauge", table[i].help);
}
