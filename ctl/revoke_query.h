/* revoke_query: the statement that finds leaked keys, and deactivates those that are active. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_REVOKE_QUERY_H
#define APIKEYCTL_REVOKE_QUERY_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/digest.h>

#include "keys_db.h"

/* A batch, as text of PostgreSQL's arrays: values of the key column, values of the fallback column,
 * and for each of them the place of its line in the batch. Zero is an empty one. */
struct leaked {
    struct buffer values, places;
    struct buffer raw_values, raw_places;
};

/* Forget what it holds, and wipe it. */
void leaked_clear(struct leaked *leaked);

/* Add a line's key. The fingerprint is that of the daemon's log. */
void leaked_add_key(struct leaked *leaked, struct keys_db *db, size_t place, struct slice key,
                    char ret_fingerprint[static FINGERPRINT_SIZE]);

/* Add a line's fingerprint, of 11 bytes. */
void leaked_add_fingerprint(struct leaked *leaked, size_t place, struct slice fingerprint);

/* A row that a line is about. */
struct revoked_row {
    size_t place;   /* of the line */
    const char *id; /* valid as long as the result */
    bool ambiguous; /* other rows, with another key, have the same fingerprint; none is changed */
    bool revoked;   /* it was active; with `dry_run` it still is */
    bool first;     /* no line before, of the same batch, is about it */
};

/* Find keys, or with `fingerprints` rows that have one, and deactivate them in one transaction,
 * unless `dry_run`. Rows come in the order of places. The caller looks at the status. */
PGresult *revoke_query_run(struct keys_db *db, const struct leaked *leaked, bool fingerprints,
                           bool dry_run);

struct revoked_row revoke_query_row(const PGresult *result, int i);

#endif
