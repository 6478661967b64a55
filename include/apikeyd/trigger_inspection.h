/* trigger_inspection: do the triggers announce every change of a key?
 *
 * They count only as what they should be, whole: for the table, and for each of its partitions and
 * children that holds rows, enabled triggers for INSERT, DELETE, UPDATE and TRUNCATE, with no list
 * of columns and no condition but that of the migrations, of the trigger function that the
 * migration "announce" makes, to the letter. What else stands there is told, in a sentence. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRIGGER_INSPECTION_H
#define APIKEYD_TRIGGER_INSPECTION_H

#include "apikeyd/config.h"
#include "apikeyd/pg_connection.h"

enum { INSPECTION_SIZE = 256 };

/* Set the statement and its parameters, which point into `config`. */
void trigger_inspection_bind(struct pg_query *query, const struct config *config);

/* The first thing that is wrong, or "". False, leaving ret alone, when it is not such a result. */
bool trigger_inspection_read(const PGresult *result, char ret_problem[static INSPECTION_SIZE]);

#endif
