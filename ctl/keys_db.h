/* keys_db: the table of keys in PostgreSQL. An error is reported and ends the program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_KEYS_DB_H
#define APIKEYCTL_KEYS_DB_H

#include <jansson.h>
#include <libpq-fe.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

#include "command.h"

struct keys_db;

/* Connect to --dsn, $APIKEYCTL_DSN or the configuration's postgres.dsn. Table, columns and
 * transform come from the configuration, which must live as long. */
struct keys_db *keys_db_open(const struct request *request, const struct config *config);
void keys_db_close(struct keys_db *db);

const struct config *keys_db_config(const struct keys_db *db);

/* Run a statement, in which names stand as in sql_template.h. The caller looks at the status. */
PGresult *keys_db_query(struct keys_db *db, const char *text, int params,
                        const char *const *values);

/* Run a statement in which names stand already. Frees `sql`. */
PGresult *keys_db_execute(struct keys_db *db, struct buffer *sql, int params,
                          const char *const *values);

/* Append the expression for a row as JSON, as it stands after SELECT or RETURNING; a table that it
 * is about has no alias. */
void keys_db_append_row(struct buffer *sql, const struct config *config);

/* Returns the rows of a result that has such a column, as an array. Takes `result`. */
json_t *keys_db_take_rows(PGresult *result);

/* The statement failed: say why, and end the program. */
__attribute__((noreturn)) void keys_db_refused(const PGresult *result);

/* Everything that the columns may hold for `key`. */
void keys_db_names(const struct keys_db *db, struct slice key, struct key_names *ret);

/* Returns the value of the key column for `key`; valid until the next call. */
const char *keys_db_column(struct keys_db *db, const char *key);

/* Returns whether the fallback column takes no row without a value. */
bool keys_db_fallback_needs_key(struct keys_db *db);

struct new_key {
    const char *id; /* NULL: the column's default */
    const char *user;
    const char *name;     /* NULL: none */
    const char *column;   /* from keys_db_column() */
    const char *fallback; /* the key itself, or NULL: keys_db_fallback_needs_key() */
    bool active;
};

/* Insert a row. Returns the row as an object. */
json_t *keys_db_insert(struct keys_db *db, const struct new_key *key);

/* Returns all rows, or a user's, newest first. */
json_t *keys_db_list(struct keys_db *db, const char *user);

/* Returns the rows that meet a condition, which may end with ORDER BY; names stand in it as in
 * sql_template.h. The first of its values is a user's ID, or NULL for all users, and comes before
 * the condition as $1. */
json_t *keys_db_rows(struct keys_db *db, const char *condition, int params,
                     const char *const *values);

/* Returns the rows of a key, of the one that it took the place of, and of its successors, in this
 * order. Empty where postgres.successor_of_column is. */
json_t *keys_db_rotation(struct keys_db *db, const char *id, const char *user);

/* Returns the rows of the successors of `rows`, by the ID of the row whose key each takes the place
 * of: of several successors one. postgres.successor_of_column must not be empty. */
json_t *keys_db_successors(struct keys_db *db, const json_t *rows);

/* The text of an array, as a parameter, from IDs, which may be any text. The end adds a NUL. */
void keys_db_array_add(struct buffer *array, const char *id);
void keys_db_array_end(struct buffer *array);

/* Read one row, or change it. `user` may be NULL; else the row must belong to that user. NULL when
 * there is no such row. */
json_t *keys_db_find(struct keys_db *db, const char *id, const char *user);
json_t *keys_db_rename(struct keys_db *db, const char *id, const char *user, const char *name);
json_t *keys_db_set_active(struct keys_db *db, const char *id, const char *user, bool active);
json_t *keys_db_delete(struct keys_db *db, const char *id, const char *user);

#endif
