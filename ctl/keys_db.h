/* keys_db: the table of keys in PostgreSQL. What goes wrong is told, and ends the program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_KEYS_DB_H
#define APIKEYCTL_KEYS_DB_H

#include <jansson.h>

#include "command.h"

struct keys_db;

/* Connect to --dsn, $APIKEYCTL_DSN or the configuration's postgres.dsn. Table, column and transform
 * are the configuration's. */
struct keys_db *keys_db_open(const struct request *request);
void keys_db_close(struct keys_db *db);

/* What the key column holds for `key`; valid until the next call. */
const char *keys_db_column(struct keys_db *db, const char *key);

/* A new row; `column` is what keys_db_column() said. The row as an object. */
json_t *keys_db_insert(struct keys_db *db, const char *user, const char *name, const char *column,
                       bool active);

/* All rows, or a user's, newest first. */
json_t *keys_db_list(struct keys_db *db, const char *user);

/* One row: looked at, or changed. `user` may be NULL; else the row has to be theirs. NULL when
 * there is no such row. */
json_t *keys_db_find(struct keys_db *db, const char *id, const char *user);
json_t *keys_db_rename(struct keys_db *db, const char *id, const char *user, const char *name);
json_t *keys_db_set_active(struct keys_db *db, const char *id, const char *user, bool active);
json_t *keys_db_delete(struct keys_db *db, const char *id, const char *user);

#endif
