/* sql_name: option values as quoted SQL names. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SQL_NAME_H
#define APIKEYD_SQL_NAME_H

#include "apikeyd/buffer.h"

/* Append api.user_api_key as "api"."user_api_key". The option table lets only letters, digits, _
 * and one dot through. */
static inline void sql_name_append(struct buffer *sql, const char *name)
{
    const char *dot = strchr(name, '.');

    if (dot)
        buffer_printf(sql, "\"%.*s\".\"%s\"", (int)(dot - name), name, dot + 1);
    else
        buffer_printf(sql, "\"%s\"", name);
}

#endif
