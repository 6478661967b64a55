/* sql_name: option values as quoted SQL names, of any characters but NUL. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SQL_NAME_H
#define APIKEYD_SQL_NAME_H

#include <apikeyd/base/buffer.h>

/* Append a table's name: api.user_api_key as "api"."user_api_key". A name without a schema means
 * schema public, whatever the search path. The first dot ends the schema's name. */
void sql_table_append(struct buffer *sql, const char *name);

/* Append a column's name. */
void sql_column_append(struct buffer *sql, const char *name);

/* Append text as a literal, which means the same whatever standard_conforming_strings is. */
void sql_literal_append(struct buffer *sql, const char *text);

#endif
