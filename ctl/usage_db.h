/* usage_db: the table of counts in PostgreSQL. An error is reported and ends the program.
 *
 * PostgreSQL adds up: an answer has a row for each time, or for each of the busiest keys, however
 * many rows the table has. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_USAGE_DB_H
#define APIKEYCTL_USAGE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <apikeyd/config/config.h>

#include "command.h"

struct usage_db;

struct usage_question {
    const char *by;    /* hour, day or month */
    int64_t since_s;   /* seconds before now; the hour, day or month of then is whole */
    const char *key;   /* only of the key with this ID; or NULL */
    bool rotated;      /* and of the keys that it succeeds, and that succeed it, one by one */
    const char *user;  /* only of this user's keys; or NULL */
    unsigned rows_max; /* of usage_db_busiest() */
};

/* Connect as database_connect() does. The configuration and the question must live as long. */
struct usage_db *usage_db_open(const struct request *request, const struct config *config,
                               const struct usage_question *question);
void usage_db_close(struct usage_db *db);

/* The time that the answers begin with, as "2026-11-30 14:00 UTC". */
const char *usage_db_since(const struct usage_db *db);

/* Returns whether the table of keys has the question's key, or a key of its user. */
bool usage_db_has_key(struct usage_db *db);

/* Returns an object for each hour, day or month: time, allow, inactive, expired, early, total. */
json_t *usage_db_times(struct usage_db *db);

/* Returns an object for each of the busiest keys, the busiest first: api_key_id, name, user_id,
 * deleted, and the numbers. The name is null where the session's role may not read it. */
json_t *usage_db_busiest(struct usage_db *db);

/* Call the function that maintains partitions. Returns a text for each thing done. */
json_t *usage_db_maintain(const struct request *request, const struct config *config);

#endif
