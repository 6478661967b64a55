/* count_query: adds counts to PostgreSQL, and notes their number, in one transaction.
 *
 * The statement first advances the number of the series in postgres.ledger_table, if it is lower,
 * and adds the rows only if it has advanced it. So counts whose number is noted are not added
 * again. It locks the rows in the order of their keys, and writes nothing in a store that it is not
 * meant for. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_QUERY_H
#define APIKEYD_COUNT_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>
#include <apikeyd/ledger/count_batch.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/postgres/store_query.h>

/* The statement for this configuration; free() it. `only_known`: rows of keys that are not in
 * postgres.table are left out. */
char *count_query_sql(const struct config *config, bool only_known);

/* Buffers for a statement's parameters, for reuse. */
struct count_params {
    struct buffer ids, buckets, verdicts, uses, numbers, mark;
};

/* Fill in query->param from the batch's next rows, those before `end`; of these the refused ones
 * are left out. The number is not advanced from one that is lower than `after`. */
void count_query_bind(struct pg_query *query, struct count_params *params,
                      const struct count_batch *batch, size_t end, uint64_t after,
                      const struct store_mark *mark);
void count_params_free(struct count_params *params);

struct count_outcome {
    struct store_told told;
    bool added;
    uint64_t rows;   /* that were added to, or inserted */
    uint64_t number; /* of the series, before the statement; 0: PostgreSQL does not know it */
};

/* False when the result does not have the expected form. */
bool count_query_read(const PGresult *result, struct count_outcome *ret);

/* A query without parameters that tells whether somebody has, or waits for, a lock that keeps the
 * statement from either table; free() it. It waits for no lock itself. */
char *count_query_locks_sql(const struct config *config);
bool count_query_unlocked(const PGresult *result);

/* Returns whether a key of the rows has gone, which a foreign key refuses. */
bool count_query_key_gone(const PGresult *result);

/* Returns whether PostgreSQL refuses a row for what it is, as a constraint or a trigger does. A
 * partition that is missing refuses all rows of a time, and is no fault of theirs. */
bool count_query_row_refused(const PGresult *result);

/* What the table calls a verdict. */
const char *count_query_verdict(uint32_t verdict);

#endif
