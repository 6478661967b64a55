/* trigger_inspection: checks whether the triggers announce every change of a key.
 *
 * Triggers count only if they are exactly as the migrations make them. The table, and each of its
 * partitions and children that holds rows, must have enabled triggers for INSERT, DELETE, UPDATE
 * and TRUNCATE. The triggers have no list of columns, and no condition except that of the
 * migrations, which compares by PostgreSQL's own operators only. Their function is that of the
 * migration "announce", to the letter. The inspection describes the first deviation in a sentence.
 *
 * A statement that began under other triggers may still fire those. So triggers count only when
 * every transaction that was changing the table at the inspection has ended: each holds a lock
 * until then. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRIGGER_INSPECTION_H
#define APIKEYD_TRIGGER_INSPECTION_H

#include <apikeyd/config/config.h>
#include <apikeyd/postgres/pg_connection.h>

enum { INSPECTION_SIZE = 256, WRITERS_SIZE = 4096 };

struct inspection {
    char problem[INSPECTION_SIZE]; /* the first fault, or "" */
    bool writers_known;            /* false: there are too many */
    char writers[WRITERS_SIZE];    /* transactions that are changing the table, by comma */
};

/* Set the statement and its parameters, which point into `config`. */
void trigger_inspection_bind(struct pg_query *query, const struct config *config);

/* False when the result has another form. */
bool trigger_inspection_read(const PGresult *result, struct inspection *ret);

/* Set the query for which of `writers` have not ended yet. */
void trigger_inspection_bind_writers(struct pg_query *query, const char *writers);
bool trigger_inspection_read_writers(const PGresult *result, char ret_writers[static WRITERS_SIZE]);

#endif
