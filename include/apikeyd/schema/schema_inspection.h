/* schema_inspection: the query that tells whether the triggers announce every change of a key.
 *
 * Triggers count only if they are exactly as schema.sql makes them, for this configuration or for
 * one that needs more columns: those announce too much, which costs lookups only, so a
 * configuration and its schema may change one after the other. The table, and each of its
 * partitions and children that holds rows, must have enabled triggers for INSERT, DELETE, UPDATE
 * and TRUNCATE. The triggers have no list of columns, and no condition except that of schema.sql.
 * The functions are those of schema.sql, to the letter. The query describes the first deviation in
 * a sentence, and says what to do.
 *
 * A partition needs no trigger for TRUNCATE: that changes the partition's definition, which the
 * next heartbeat sees. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SCHEMA_INSPECTION_H
#define APIKEYD_SCHEMA_INSPECTION_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

/* Of the one row that the query returns: the sentence, or ""; the virtual transactions that are
 * changing the table, by comma; whether a partition has no trigger for TRUNCATE. */
enum {
    SCHEMA_INSPECTION_PROBLEM,
    SCHEMA_INSPECTION_WRITERS,
    SCHEMA_INSPECTION_BY_HEARTBEAT,
    SCHEMA_INSPECTION_FIELDS
};

/* The first ones say what the triggers are for: the table, and its columns. */
enum { SCHEMA_INSPECTION_PARAMS = 7, SCHEMA_INSPECTION_SUBJECTS = 4 };

/* The query, and its parameters as strings, all of type text. */
struct schema_inspection {
    const char *sql;
    struct buffer param[SCHEMA_INSPECTION_PARAMS];
};

void schema_inspection_init(struct schema_inspection *inspection, const struct config *config);
void schema_inspection_done(struct schema_inspection *inspection);

#endif
