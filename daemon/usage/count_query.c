/* SPDX-License-Identifier: MIT */
#include "count_query.h"

#include <string.h>

#include <apikeyd/config/sql_template.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_id.h>

#include "usage_query.h"

enum { FIELD_ADVANCED, FIELD_ROWS, FIELD_NUMBER, FIELD_STORE, FIELDS };

static const char sql_counts[] =
    "WITH counts AS (SELECT c.id, c.bucket, c.verdict, c.uses FROM ROWS FROM ("
    "pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) "
    "AS c(id, bucket, verdict, uses)";
static const char sql_known[] =
    " WHERE EXISTS (SELECT FROM {table} AS t WHERE t.{id} OPERATOR(pg_catalog.=) c.id)";

/* A subquery sets the lock timeout before the first row is locked, for the transaction only. */
static const char sql_advanced[] =
    "), advanced AS (INSERT INTO {ledger_table} AS l (ledger_id, number, updated_at) "
    "SELECT $5, $6, pg_catalog.now() WHERE "
    "(SELECT pg_catalog.set_config('lock_timeout', '500ms', true)) IS NOT NULL AND "
    "($7 OPERATOR(pg_catalog.=) 0::pg_catalog.int8 OR EXISTS (SELECT FROM {ledger_table} AS k "
    "WHERE k.ledger_id OPERATOR(pg_catalog.=) $5)) AND ";
static const char sql_here[] = STORE_MARK_CONDITION("$9", "$10", "$11");
static const char sql_once[] =
    " ON CONFLICT (ledger_id) DO UPDATE SET number = excluded.number, "
    "updated_at = excluded.updated_at WHERE l.number OPERATOR(pg_catalog.>=) $7 "
    "AND l.number OPERATOR(pg_catalog.<=) $8 RETURNING 1), ";
static const char sql_added[] =
    "added AS (INSERT INTO {usage_table} AS u (api_key_id, bucket, verdict, uses) "
    "SELECT c.id, c.bucket, c.verdict, c.uses FROM counts AS c "
    "WHERE EXISTS (SELECT FROM advanced) ORDER BY 1, 2, 3 "
    "ON CONFLICT (api_key_id, bucket, verdict) "
    "DO UPDATE SET uses = u.uses OPERATOR(pg_catalog.+) excluded.uses RETURNING 1) ";
static const char sql_outcome[] =
    "SELECT (SELECT pg_catalog.count(*) FROM advanced), (SELECT pg_catalog.count(*) FROM added), "
    "coalesce((SELECT k.number FROM {ledger_table} AS k "
    "WHERE k.ledger_id OPERATOR(pg_catalog.=) $5), 0::pg_catalog.int8), " STORE_MARK;

enum { PARAM_MARK = 9, SERIES_SIZE = sizeof(struct series_id), NUMBER_SIZE = 8 };

char *count_query_sql(const struct config *config, bool only_known)
{
    const char *const parts[] = {
        sql_counts, only_known ? sql_known : "", sql_advanced, sql_here, sql_once, sql_added,
        sql_outcome};
    struct buffer sql = {0};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sql_template(&sql, config, parts[i]);
    buffer_append(&sql, "", 1);
    return sql.data;
}

const char *count_query_verdict(uint32_t verdict)
{
    switch ((enum verdict_kind)verdict) {
    case VERDICT_ALLOW:
        return "allow";
    case VERDICT_DENY_INACTIVE:
        return "inactive";
    case VERDICT_DENY_EXPIRED:
        return "expired";
    case VERDICT_DENY_EARLY:
        return "early";
    case VERDICT_UNAVAILABLE:
    case VERDICT_DENY_UNKNOWN:
        break;
    }
    return "damaged"; /* the table's constraint refuses it */
}

static void clear(struct count_params *params)
{
    struct buffer *const all[] = {&params->ids,  &params->buckets, &params->verdicts,
                                  &params->uses, &params->numbers, &params->mark};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buffer_consume(all[i], all[i]->len);
}

static void put_rows(struct count_params *params, const struct count_row *rows, size_t len,
                     enum id_type type)
{
    pg_array_begin(&params->ids, pg_id_oid(type), len);
    pg_array_begin(&params->buckets, PG_TIMESTAMPTZ, len);
    pg_array_begin(&params->verdicts, PG_TEXT, len);
    pg_array_begin(&params->uses, PG_INT8, len);
    for (size_t i = 0; i < len; i++) {
        const char *verdict = count_query_verdict(rows[i].verdict);

        pg_id_element(&params->ids, &rows[i].id, type);
        pg_array_int64(&params->buckets, (int64_t)rows[i].hour * INT64_C(3600000000) - PG_EPOCH_US);
        pg_array_element(&params->verdicts, verdict, strlen(verdict));
        pg_array_int64(&params->uses, (int64_t)rows[i].uses);
    }
}

void count_query_bind(struct pg_query *query, struct count_params *params,
                      const struct count_batch *batch, size_t end, uint64_t after,
                      const struct store_mark *mark)
{
    const size_t from = batch->done + batch->refused;

    clear(params);
    put_rows(params, batch->rows + from, end - from, batch->type);
    buffer_append(&params->numbers, &batch->series, SERIES_SIZE);
    pg_put_int64(&params->numbers, count_batch_number(batch, end));
    pg_put_int64(&params->numbers, after);
    pg_put_int64(&params->numbers, count_batch_number(batch, batch->done));
    const char *numbers = buffer_held(&params->numbers).at;
    query->params = PARAM_MARK + 2;
    store_mark_bind(query, PARAM_MARK, mark, &params->mark);
    query->param[0] = (struct pg_param){pg_id_array_oid(batch->type), buffer_held(&params->ids)};
    query->param[1] = (struct pg_param){PG_TIMESTAMPTZ_ARRAY, buffer_held(&params->buckets)};
    query->param[2] = (struct pg_param){PG_TEXT_ARRAY, buffer_held(&params->verdicts)};
    query->param[3] = (struct pg_param){PG_INT8_ARRAY, buffer_held(&params->uses)};
    query->param[4] = (struct pg_param){PG_UUID, {numbers, SERIES_SIZE}};
    for (size_t i = 0; i < 3; i++)
        query->param[5 + i] =
            (struct pg_param){PG_INT8, {numbers + SERIES_SIZE + i * NUMBER_SIZE, NUMBER_SIZE}};
}

void count_params_free(struct count_params *params)
{
    buffer_free(&params->ids);
    buffer_free(&params->buckets);
    buffer_free(&params->verdicts);
    buffer_free(&params->uses);
    buffer_free(&params->numbers);
    buffer_free(&params->mark);
}

bool count_query_read(const PGresult *result, struct count_outcome *ret)
{
    struct count_outcome outcome = {0};

    if (PQntuples(result) != 1 || PQnfields(result) != FIELDS)
        return false;
    for (int i = FIELD_ADVANCED; i <= FIELD_NUMBER; i++) {
        if (PQgetlength(result, 0, i) != NUMBER_SIZE)
            return false;
    }
    if (!store_mark_read(PQgetvalue(result, 0, FIELD_STORE), PQgetlength(result, 0, FIELD_STORE),
                         &outcome.told))
        return false;
    outcome.added = pg_get_int64(PQgetvalue(result, 0, FIELD_ADVANCED)) > 0;
    outcome.rows = (uint64_t)pg_get_int64(PQgetvalue(result, 0, FIELD_ROWS));
    outcome.number = (uint64_t)pg_get_int64(PQgetvalue(result, 0, FIELD_NUMBER));
    *ret = outcome;
    return true;
}

char *count_query_locks_sql(const struct config *config)
{
    struct buffer sql = {0};

    sql_template(&sql, config,
                 "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks AS k WHERE k.database "
                 "OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d "
                 "WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) "
                 "AND (k.relation OPERATOR(pg_catalog.=) ANY "
                 "(ARRAY[pg_catalog.to_regclass({usage_table_text})::pg_catalog.oid, "
                 "pg_catalog.to_regclass({ledger_table_text})::pg_catalog.oid]) "
                 "OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid "
                 "OPERATOR(pg_catalog.=) k.relation AND i.inhparent OPERATOR(pg_catalog.=) "
                 "pg_catalog.to_regclass({usage_table_text})::pg_catalog.oid)) "
                 "AND k.mode OPERATOR(pg_catalog.=) ANY (ARRAY['AccessExclusiveLock', "
                 "'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock'])");
    buffer_append(&sql, "", 1);
    return sql.data;
}

bool count_query_unlocked(const PGresult *result)
{
    return PQntuples(result) == 1 && PQgetlength(result, 0, 0) == NUMBER_SIZE &&
           pg_get_int64(PQgetvalue(result, 0, 0)) == 0;
}

/* Beside the classes that are no fault of a row of last_used: conflicts of transactions, limits,
 * locks and faults of the server (PostgreSQL manual, "PostgreSQL Error Codes"). A missing partition
 * is a check_violation of no constraint that has a name. */
bool count_query_row_refused(const PGresult *result)
{
    static const char *const others[] = {"40", "54", "55", "XX"};
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (!usage_query_fault_of_a_row(result))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strncmp(state, others[i], 2) == 0)
            return false;
    }
    return strcmp(state, "23514") != 0 || PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
}

/* foreign_key_violation */
bool count_query_key_gone(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && strcmp(state, "23503") == 0;
}
