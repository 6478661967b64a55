/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/sql_name.h>

/* Append `len` bytes, with each byte of `doubled` twice. */
static void append_doubled(struct buffer *sql, const char *text, size_t len, const char *doubled)
{
    for (size_t i = 0; i < len; i++) {
        buffer_append(sql, &text[i], 1);
        if (strchr(doubled, text[i]))
            buffer_append(sql, &text[i], 1);
    }
}

static void append_name(struct buffer *sql, const char *name, size_t len)
{
    buffer_text(sql, "\"");
    append_doubled(sql, name, len, "\"");
    buffer_text(sql, "\"");
}

void sql_table_append(struct buffer *sql, const char *name)
{
    const char *dot = strchr(name, '.');
    const char *table = dot ? dot + 1 : name;

    if (dot)
        append_name(sql, name, (size_t)(dot - name));
    else
        buffer_text(sql, "\"public\"");
    buffer_text(sql, ".");
    append_name(sql, table, strlen(table));
}

void sql_column_append(struct buffer *sql, const char *name)
{
    append_name(sql, name, strlen(name));
}

void sql_literal_append(struct buffer *sql, const char *text)
{
    buffer_text(sql, "E'");
    append_doubled(sql, text, strlen(text), "'\\");
    buffer_text(sql, "'");
}
