/* sql_template: SQL text with the configured names of the table and its columns in it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SQL_TEMPLATE_H
#define APIKEYD_SQL_TEMPLATE_H

#include <apikeyd/config/config.h>

/* Append `text`, in which {table}, {key}, {fallback}, {id}, {user}, {active}, {last_used},
 * {updated}, {created}, {not_before}, {expires}, {successor_of} and {name} stand for the names of
 * postgres.table, postgres.key_column and so on, quoted; {usage_table} and {ledger_table} likewise;
 * {table_text}, {usage_table_text} and {ledger_table_text} for the tables' quoted names as
 * literals, {zone} for postgres.timestamp_zone as one. The column of an option that is empty must
 * not be named. */
void sql_template(struct buffer *sql, const struct config *config, const char *text);

#endif
