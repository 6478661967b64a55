/* sql_name: option values as quoted SQL names. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SQL_NAME_H
#define APIKEYD_SQL_NAME_H

#include <apikeyd/base/buffer.h>

/* Append a table's name: api.user_api_key as "api"."user_api_key". A name without a schema means
 * schema public, whatever the search path. The option table lets only letters, digits, _ and one
 * dot through. */
static inline void sql_table_append(struct buffer *sql, const char *name)
{
    const char *dot = strchr(name, '.');

    if (dot)
        buffer_printf(sql, "\"%.*s\".\"%s\"", (int)(dot - name), name, dot + 1);
    else
        buffer_printf(sql, "\"public\".\"%s\"", name);
}

/* Append a column's name. */
static inline void sql_column_append(struct buffer *sql, const char *name)
{
    buffer_printf(sql, "\"%s\"", name);
}

#endif
