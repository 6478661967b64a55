/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/usage_names.h>

#include <string.h>

#include <apikeyd/config/option.h>

enum { SUFFIX_MAX = sizeof USAGE_MAINTAIN - 1 }; /* and _YYYY_MM, _default */

void usage_stem_append(struct buffer *name, const struct config *config, const char *suffix)
{
    const char *dot = strchr(config->postgres_usage_table, '.');
    const char *table = dot ? dot + 1 : config->postgres_usage_table;
    size_t len = strlen(table);

    if (len > OPTION_NAME_MAX - SUFFIX_MAX) {
        len = OPTION_NAME_MAX - SUFFIX_MAX;
        while (((unsigned char)table[len] & 0xC0) == 0x80)
            len--;
    }
    buffer_append(name, table, len);
    buffer_text(name, suffix);
}

void usage_name_append(struct buffer *name, const struct config *config, const char *suffix)
{
    const char *dot = strchr(config->postgres_usage_table, '.');

    if (dot)
        buffer_append(name, config->postgres_usage_table,
                      (size_t)(dot - config->postgres_usage_table) + 1);
    usage_stem_append(name, config, suffix);
}
