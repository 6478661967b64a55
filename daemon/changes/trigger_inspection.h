/* trigger_inspection: asks whether the triggers announce every change of a key.
 *
 * schema_inspection.h says which triggers count. A statement that began under other triggers may
 * still fire those. So triggers count only when every transaction that was changing the table at
 * the inspection has ended: each holds a lock until then. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRIGGER_INSPECTION_H
#define APIKEYD_TRIGGER_INSPECTION_H

#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/schema/schema_inspection.h>

enum { INSPECTION_SIZE = 512, WRITERS_SIZE = 4096 };

struct inspection {
    char problem[INSPECTION_SIZE]; /* the first fault, or "" */
    bool by_heartbeat;             /* a partition has no trigger for TRUNCATE */
    bool writers_known;            /* false: there are too many */
    char writers[WRITERS_SIZE];    /* transactions that are changing the table, by comma */
};

/* Set the statement and its parameters, which point into `expected`. */
void trigger_inspection_bind(struct pg_query *query, const struct schema_inspection *expected);

/* False when the result has another form. */
bool trigger_inspection_read(const PGresult *result, struct inspection *ret);

/* Set the query for which of `writers` have not ended yet. */
void trigger_inspection_bind_writers(struct pg_query *query, const char *writers);
bool trigger_inspection_read_writers(const PGresult *result, char ret_writers[static WRITERS_SIZE]);

#endif
