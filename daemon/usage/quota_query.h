/* quota_query: sums the uses of keys in this month, by PostgreSQL's clock, from the table of
 * counts.
 *
 * Only ALLOWs are uses. The answer is empty in a store that the statement is not meant for. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUOTA_QUERY_H
#define APIKEYD_QUOTA_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>
#include <apikeyd/model/quota_book.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/postgres/store_query.h>

/* The statement for this configuration; free() it. */
char *quota_query_sql(const struct config *config);

/* Buffers for a statement's parameters, for reuse. */
struct quota_params {
    struct buffer ids, mark;
};

/* Fill in query->param with these keys. */
void quota_query_bind(struct pg_query *query, struct quota_params *params,
                      const struct row_id *const ids[], size_t len, enum id_type type,
                      const struct store_mark *mark);
void quota_params_free(struct quota_params *params);

/* Returns whether the result has the expected form. */
bool quota_query_valid(const PGresult *result, enum id_type type);

/* Read row `i` of a valid result, without the number of rounds. */
void quota_query_row(const PGresult *result, int i, enum id_type type, struct quota_sum *ret);

#endif
