/* key_query: asks PostgreSQL about many keys at once.
 *
 * A batch is one SELECT: the key column's values are one text[] parameter, the fallback column's,
 * if there is one, a second, and each row of the answer names its key. `= ANY` leaves the server no
 * join to plan: it reads an index key by key or, without an index, the table once for the whole
 * batch. One more row tells which store was read, so an answer without keys tells that too. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_QUERY_H
#define APIKEYD_KEY_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/base/slice.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/verdict.h>
#include <apikeyd/postgres/store_query.h>

#include "attribute_query.h"

/* The statement for this configuration; free() it. NULL when out of memory. */
char *key_query_sql(const struct config *config);

/* The statement for no keys, without a parameter: it needs the same rights and locks, and tells the
 * store. */
char *key_query_probe_sql(const struct config *config);

struct key_row {
    struct slice key;       /* lives as long as the result; empty: NULL */
    struct slice fallback;  /* the fallback column's text, likewise */
    struct verdict verdict; /* as if it were the only row of its key; without its read time */
    bool broken;            /* an ID is missing, or is none; it is zeros */
    int64_t created_at;     /* in PostgreSQL's units; NULL counts as latest */
    int64_t server_read_us; /* PostgreSQL's clock, µs since 1970 */
    int index;              /* of the row in its result */
};

/* The verdict from the rows of one key so far. Starts as DENY unknown with 0 rows. */
struct key_finding {
    struct verdict verdict;
    bool broken;        /* a row was broken: there is no verdict */
    int64_t created_at; /* of the row that gave the verdict its IDs */
    int row;            /* which row of the result that is */
    int64_t server_read_us;
};

/* A column that is not of the type that the configuration tells: no row can be read. */
struct key_misfit {
    const char *why;    /* lives forever; NULL: there is none */
    const char *found;  /* the column's type */
    const char *column; /* its name, the configuration's, or NULL if `why` tells it */
};

struct key_misfit key_query_misfit(const PGresult *result, const struct config *config);

/* Returns whether a result without a misfit has the expected form; sets *ret_told. */
bool key_query_valid(const PGresult *result, const struct config *config,
                     struct store_told *ret_told);

/* Read row `i`, of PQntuples(), with IDs of the type. False for the row that tells the store: then
 * only ret->server_read_us is set. */
bool key_query_row(const PGresult *result, int i, enum id_type type, struct key_row *ret);

/* Read the quota and the attributes of row `i`, which key_query_row() has read. */
void key_query_attributes(const PGresult *result, int i, const struct config *config,
                          struct attributes_draft *ret_draft, struct attribute_faults *ret_faults);

/* Whether a row that was found by one of its columns is a row of the key. */
enum key_row_standing {
    KEY_ROW_FITS,
    KEY_ROW_TORN,             /* key_column holds a hash, but of another key than the fallback */
    KEY_ROW_NO_HASH,          /* key_column holds something else than a hash */
    KEY_ROW_HASH_IN_FALLBACK, /* it is NULL, and the fallback holds what may be a stored hash */
};

/* A row is a key's if each column that holds something holds what is the key's, and one does. So a
 * stored hash is never a key: text of its form in the fallback column counts as nothing, and so
 * does empty text in any column. */
enum key_row_standing key_row_judge(const struct key_row *row, const struct key_names *names,
                                    struct slice key);

/* Returns which of the key's hashes the row holds; names->hashes: none. */
size_t key_row_hash(const struct key_row *row, const struct key_names *names);

/* Add a row to the finding of its key. All rows must be active, and within their windows, for an
 * ALLOW. The IDs are those of the oldest row; among rows of one age, of the least ID. */
void key_query_combine(struct key_finding *finding, const struct key_row *row);

#endif
