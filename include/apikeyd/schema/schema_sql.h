/* schema_sql: the SQL that makes role, functions, triggers, index and tables of counts for a
 * configuration.
 *
 * Everything that is deployed comes from two templates, schema.sql and usage.sql: what `apikeyctl
 * schema sql` prints, and sqitch's migrations, which are that for the default configuration. The
 * daemon knows from the same template what it may believe in. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SCHEMA_SQL_H
#define APIKEYD_SCHEMA_SQL_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

/* The sections of the templates, in the order in which they run. */
#define SCHEMA_FUNCTIONS "functions"
#define SCHEMA_ROLE "role"
#define SCHEMA_TRIGGERS "triggers"
#define SCHEMA_INDEX "index"
#define SCHEMA_USAGE_TABLES "usage_tables"
#define SCHEMA_USAGE_RIGHTS "usage_rights" /* of the role */
#define SCHEMA_UNDO_USAGE "undo_usage"
#define SCHEMA_ROTATION "rotation" /* only where postgres.successor_of_column is set */
#define SCHEMA_UNDO_ROTATION "undo_rotation"
#define SCHEMA_UNDO_INDEX "undo_index"
#define SCHEMA_UNDO_TRIGGERS "undo_triggers"
#define SCHEMA_UNDO_FUNCTIONS "undo_functions"
#define SCHEMA_UNDO_ROLE "undo_role"

/* Append a section. `role` is the name of the daemon's role; only sections about roles use it. */
void schema_sql_append(struct buffer *sql, const struct config *config, const char *role,
                       const char *section);

/* Append the names of the schema and the table, which an option names together. */
void schema_table_append(struct buffer *schema, struct buffer *table, const char *name);

/* The columns whose keys the triggers announce, in the order of the triggers' arguments; those that
 * a verdict is made of; those that the daemon reads and writes. They end with NULL and point into
 * `config`. */
enum { SCHEMA_COLUMNS_MAX = 14 + ATTRIBUTES_MAX };
void schema_key_columns(const struct config *config,
                        const char *ret_columns[static SCHEMA_COLUMNS_MAX]);
void schema_verdict_columns(const struct config *config,
                            const char *ret_columns[static SCHEMA_COLUMNS_MAX]);
void schema_read_columns(const struct config *config,
                         const char *ret_columns[static SCHEMA_COLUMNS_MAX]);
void schema_written_columns(const struct config *config,
                            const char *ret_columns[static SCHEMA_COLUMNS_MAX]);

/* Columns as the text of an SQL array. */
void schema_array_append(struct buffer *text, const char *const columns[static SCHEMA_COLUMNS_MAX]);

/* Append the name, without its schema, and the body of the function that compares two rows. */
void schema_comparison_append(struct buffer *text, const struct config *config);
void schema_comparison_body_append(struct buffer *sql, const struct config *config);

#endif
