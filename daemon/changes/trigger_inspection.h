/* trigger_inspection: do the triggers announce every change of a key?
 *
 * They count only as what they should be, whole: for the table, and for each of its partitions and
 * children that holds rows, enabled triggers for INSERT, DELETE, UPDATE and TRUNCATE, with no list
 * of columns and no condition but that of the migrations, which compares by PostgreSQL's own
 * operators only, of the trigger function that the migration "announce" makes, to the letter. What
 * else stands there is told, in a sentence.
 *
 * A statement that began while there were others may still fire them. So they count only when every
 * transaction that was changing the table at the inspection has ended: each holds a lock until
 * then. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRIGGER_INSPECTION_H
#define APIKEYD_TRIGGER_INSPECTION_H

#include <apikeyd/config/config.h>
#include <apikeyd/postgres/pg_connection.h>

enum { INSPECTION_SIZE = 256, WRITERS_SIZE = 4096 };

struct inspection {
    char problem[INSPECTION_SIZE]; /* the first thing that is wrong, or "" */
    bool writers_known;            /* false: there are too many */
    char writers[WRITERS_SIZE];    /* transactions that are changing the table, by comma */
};

/* Set the statement and its parameters, which point into `config`. */
void trigger_inspection_bind(struct pg_query *query, const struct config *config);

/* False when it is not such a result. */
bool trigger_inspection_read(const PGresult *result, struct inspection *ret);

/* Which of `writers` have not ended yet? */
void trigger_inspection_bind_writers(struct pg_query *query, const char *writers);
bool trigger_inspection_read_writers(const PGresult *result, char ret_writers[static WRITERS_SIZE]);

#endif
