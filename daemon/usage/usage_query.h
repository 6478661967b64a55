/* usage_query: writes last_used times to PostgreSQL, many rows a statement.
 *
 * The statement locks the rows in the order of api_key_id, skips rows that another session has
 * locked, and moves last_used forward only: a later time that another writer set stays. The
 * statement returns the store in which it ran, and writes nothing in a store that it is not meant
 * for. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_QUERY_H
#define APIKEYD_USAGE_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/postgres/store_query.h>

/* The statement for this configuration; free() it. */
char *usage_query_sql(const struct config *config);

/* Buffers for a statement's parameters, for reuse. */
struct usage_params {
    struct buffer ids, times, resolution, mark;
};

/* Fill in query->param from a part of a batch, to be written where `mark` was read. */
void usage_query_bind(struct pg_query *query, struct usage_params *params, struct usage_batch chunk,
                      int64_t resolution_us, const struct store_mark *mark);
void usage_params_free(struct usage_params *params);

struct usage_outcome {
    uint64_t updated; /* rows written */
    uint64_t locked;  /* rows locked by another session: these stay pending */
    uint64_t clamped; /* times ahead of PostgreSQL's clock, written as its now */
};

/* Read the store in which the statement ran. False when the result does not have the expected
 * form. */
bool usage_query_told(const PGresult *result, struct store_told *ret);

/* Returns whether last_used has no time zone, so that postgres.timestamp_zone applies. */
bool usage_query_zoneless(const PGresult *result);

/* Read the result for a part of a batch: empties the slots that are settled (written, already
 * later, or deleted). False when the result does not have the expected form. */
bool usage_query_settle(const PGresult *result, struct usage_batch chunk,
                        struct usage_outcome *ret);

/* Returns whether PostgreSQL does not know postgres.timestamp_zone. */
bool usage_query_zone_unknown(const PGresult *result);

/* Returns whether one row may have caused the error: bad data, a constraint, a trigger that raised,
 * and every other error that is not known to concern the session, the server or the statement. */
bool usage_query_fault_of_a_row(const PGresult *result);

#endif
