/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/sql_template.h>

#include <assert.h>
#include <stdlib.h>

#include <apikeyd/base/sql_name.h>

static void append_table_text(struct buffer *sql, const char *table)
{
    struct buffer name = {0};

    sql_table_append(&name, table);
    buffer_append(&name, "", 1);
    sql_literal_append(sql, name.data);
    buffer_free(&name);
}

/* Append the column of attribute_<number>. */
static void append_attribute(struct buffer *sql, const struct config *config, const char *number)
{
    size_t column = strtoul(number, NULL, 10);

    assert(column < config->postgres_attribute_columns.len);
    sql_column_append(sql, config->postgres_attribute_columns.column[column].name);
}

/* `name` is what stands between the braces. */
static void append_value(struct buffer *sql, const struct config *config, struct slice name)
{
    const struct {
        const char *name;
        void (*append)(struct buffer *sql, const char *value);
        const char *value;
    } values[] = {
        {"table", sql_table_append, config->postgres_table},
        {"table_text", append_table_text, config->postgres_table},
        {"key", sql_column_append, config->postgres_key_column},
        {"fallback", sql_column_append, config->postgres_key_column_fallback},
        {"id", sql_column_append, config->postgres_id_column},
        {"user", sql_column_append, config->postgres_user_column},
        {"active", sql_column_append, config->postgres_active_column},
        {"last_used", sql_column_append, config->postgres_last_used_column},
        {"updated", sql_column_append, config->postgres_updated_column},
        {"created", sql_column_append, config->postgres_created_column},
        {"not_before", sql_column_append, config->postgres_not_before_column},
        {"expires", sql_column_append, config->postgres_expires_column},
        {"quota", sql_column_append, config->postgres_quota_column},
        {"successor_of", sql_column_append, config->postgres_successor_of_column},
        {"name", sql_column_append, config->postgres_name_column},
        {"usage_table", sql_table_append, config->postgres_usage_table},
        {"ledger_table", sql_table_append, config->postgres_ledger_table},
        {"usage_table_text", append_table_text, config->postgres_usage_table},
        {"ledger_table_text", append_table_text, config->postgres_ledger_table},
        {"zone", sql_literal_append, config->postgres_timestamp_zone},
    };

    static const char attribute[] = "attribute_";

    if (strncmp(name.at, attribute, sizeof attribute - 1) == 0) {
        append_attribute(sql, config, name.at + sizeof attribute - 1);
        return;
    }
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (slice_is(name, values[i].name)) {
            assert(values[i].value[0]);
            values[i].append(sql, values[i].value);
            return;
        }
    }
    assert(false); /* a template names no such value */
}

void sql_template(struct buffer *sql, const struct config *config, const char *text)
{
    for (const char *open; (open = strchr(text, '{'));) {
        const char *close = strchr(open, '}');

        assert(close);
        buffer_append(sql, text, (size_t)(open - text));
        append_value(sql, config, (struct slice){open + 1, (size_t)(close - open - 1)});
        text = close + 1;
    }
    buffer_text(sql, text);
}
