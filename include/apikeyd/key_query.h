/* key_query: ask PostgreSQL about many keys at once.
 *
 * One SELECT for a batch: the keys go as one text[] parameter, and each row that comes back says
 * by number which key it is for, oldest row first. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_QUERY_H
#define APIKEYD_KEY_QUERY_H

#include <libpq-fe.h>

#include "apikeyd/config.h"
#include "apikeyd/verdict.h"

/* The statement for this configuration; free() it. NULL when memory is short. */
char *key_query_sql(const struct config *config);

struct key_row {
    size_t key; /* index into the batch */
    struct uuid api_key_id, user_id;
    bool active;
    int64_t server_read_us; /* PostgreSQL's clock, µs since 1970 */
};

/* Whether every row of the result has the form that key_query_row() reads. */
bool key_query_valid(const PGresult *result);

/* Read row `i`; false when there is none. */
bool key_query_row(const PGresult *result, int i, struct key_row *ret);

/* Add a row to what is known of its key. All rows must be active for an ALLOW; the IDs are those
 * of the first row, which is the oldest. `verdict` starts as DENY unknown with 0 rows. */
void key_query_combine(struct verdict *verdict, const struct key_row *row);

#endif
