/* key_query: ask PostgreSQL about many keys at once.
 *
 * One SELECT for a batch: the keys go as one text[] parameter, and each row that comes back says
 * which key it is for. `= ANY` leaves the server no join to plan: it reads an index key by key or,
 * where there is none, the table once for the whole batch. One more row tells which store all of it
 * was read from, so that an answer without keys tells it too. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_QUERY_H
#define APIKEYD_KEY_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/base/slice.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/verdict.h>
#include <apikeyd/postgres/store_query.h>

/* The statement for this configuration; free() it. NULL when out of memory. */
char *key_query_sql(const struct config *config);

/* The same of no keys and without a parameter: it takes the same rights and locks, and tells the
 * store. */
char *key_query_probe_sql(const struct config *config);

struct key_row {
    struct slice key;       /* lives as long as the result */
    struct verdict verdict; /* as if it were the only row of its key; without its read time */
    bool broken;            /* it has not both IDs; they are zeros */
    int64_t created_at;     /* by PostgreSQL's own count; later than all others if NULL */
    int64_t server_read_us; /* PostgreSQL's clock, µs since 1970 */
};

/* What the rows of one key say so far. Starts as DENY unknown with 0 rows. */
struct key_finding {
    struct verdict verdict;
    bool broken;        /* a row was: the verdict is none */
    int64_t created_at; /* of the row whose IDs the verdict has */
    int64_t server_read_us;
};

/* Whether the result has the form that the rest here reads; sets *ret_told. */
bool key_query_valid(const PGresult *result, struct store_told *ret_told);

/* Read row `i`, of PQntuples(). False for the row that tells the store: of that only
 * ret->server_read_us is set. */
bool key_query_row(const PGresult *result, int i, struct key_row *ret);

/* Add a row to what is known of its key. All rows must be active for an ALLOW; the IDs are those
 * of the oldest row, and of the least api_key_id among rows of one age. */
void key_query_combine(struct key_finding *finding, const struct key_row *row);

#endif
