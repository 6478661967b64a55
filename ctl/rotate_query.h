/* rotate_query: the statements that give a key a successor, in one transaction.
 *
 *     begin ─▶ lock ─▶ has it a successor? ─▶ columns ─▶ insert ─▶ end ─▶ COMMIT
 *
 * The old row stays locked from the second statement on, so of two rotations at once the second one
 * waits, and then finds the successor of the first. A program that dies on the way has changed
 * nothing. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_ROTATE_QUERY_H
#define APIKEYCTL_ROTATE_QUERY_H

#include <stdint.h>

#include "keys_db.h"

/* Instead of seconds. */
enum { LIFETIME_OF_OLD = -1, LIFETIME_UNLIMITED = -2 };

struct rotation {
    const char *id;       /* of the old key */
    const char *user;     /* who has to own it, or NULL */
    const char *new_id;   /* NULL: the column's default */
    const char *column;   /* from keys_db_column(), of the new key */
    const char *fallback; /* the new key itself, or NULL: keys_db_fallback_needs_key() */
    const char *name;     /* NULL: that of the old key */
    const char *copy;     /* columns that are copied in any case, with commas in between, or NULL */
    int64_t overlap_s;
    int64_t lifetime_s;
    const char *end; /* from OLD_END */
};

/* The results' statuses are for the caller to look at. The transaction gives up a lock that it does
 * not get within three seconds, and ends by itself if it hears nothing for ten: whoever uses the
 * key waits for the row too. */
PGresult *rotate_query_begin(struct keys_db *db);

/* Lock the old row. The result has a row for each row with the ID. One in a child table, which is
 * no partition, has columns that the table has not. */
enum {
    OLD_ACTIVE,
    OLD_ENDED,
    OLD_EARLY,
    OLD_IN_CHILD, /* "t" or "f" */
    OLD_END /* when the old key is to end: after the overlap, or earlier; seconds since 1970 */
};
PGresult *rotate_query_lock(struct keys_db *db, const struct rotation *rotation);

/* The successors' IDs. This has to be a statement after the lock: the one that waited for it sees
 * no rows that were inserted meanwhile. */
PGresult *rotate_query_successors(struct keys_db *db, const struct rotation *rotation);

/* What becomes of each column that the successor does not have from apikeyctl: its name, as it
 * stands in SQL, and one of
 *
 *   copied   the successor has the old key's value
 *   made     PostgreSQL makes the value: generated, identity, from a sequence
 *   unique   a unique index of its own forbids the same value: the column's default
 *   key      the value is the old key, or may be a hash of it: the column's default
 *
 * and "t" if it is one of `copy`. */
enum { COLUMN_NAME, COLUMN_FATE, COLUMN_ASKED_FOR };
PGresult *rotate_query_columns(struct keys_db *db, const struct rotation *rotation);

/* The names of other tables that refer to the table's rows by foreign keys. */
PGresult *rotate_query_referrers(struct keys_db *db);

/* Of the results of the next two: whether the row holds what it was given, "t" or "f". A trigger of
 * the table may have changed it. */
enum { ROW_KEPT = 1 };

/* Insert the successor, with the columns that are copied. The result is for keys_db_take_rows(). */
PGresult *rotate_query_insert(struct keys_db *db, const struct rotation *rotation,
                              const PGresult *columns);

/* Let the old key end. The result likewise. */
PGresult *rotate_query_end(struct keys_db *db, const struct rotation *rotation);

#endif
