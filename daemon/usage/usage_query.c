/* SPDX-License-Identifier: MIT */
#include "usage_query.h"

#include <stdlib.h>
#include <string.h>

#include <apikeyd/config/sql_template.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_id.h>

enum { FIELD_UPDATED, FIELD_LOCKED, FIELD_STORE, FIELD_CLAMPED, FIELD_TIME_TYPE, FIELDS };

/* The statement writes only where `mark` was read: through a pooler, a session may lead elsewhere
 * by now. There it locks no row, and so writes none.
 *
 * `locked` never waits, so two daemons, or a daemon and any other writer, cannot deadlock. The rows
 * that `locked` returns are ours until COMMIT, and the UPDATE reads their newest version. A row
 * that exists but was not locked is locked by another session; a row that does not exist was
 * deleted.
 *
 * The lists of IDs are arrays from subqueries, of which the planner expects few elements: it takes
 * the index. For a list of a thousand it would read a table of 100,000 rows from end to end, twice.
 * An EXCEPT sorts or hashes, whatever the planner expects; a join could be a loop in a loop.
 *
 * A trigger of the table's owner may still wait for a lock. A short lock timeout makes it fail its
 * row and not the session. The timeout holds for the statement's transaction only, through a pooler
 * too. A subquery sets it once; a condition would set it for each row that is read.
 *
 * The same holds for the time zone, by which PostgreSQL converts to and from columns without one,
 * in the owner's triggers too. `pending` sets it: each comparison and each conversion needs a row
 * of `pending`, whatever the plan.
 *
 * PostgreSQL's clock judges: no time ahead of it is written. A time in the table that is a day
 * ahead of it cannot be true, and a new use replaces it.
 *
 * The last column is NULL; its type is that of the column with the times. */
static const char sql_pending[] =
    "WITH pending AS (SELECT p.id, LEAST(p.used, pg_catalog.now()) AS used, "
    "p.used OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.+) "
    "'1 second'::pg_catalog.interval) AS ahead "
    "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS p(id, used) "
    "WHERE (SELECT pg_catalog.set_config('TimeZone', {zone}, true)) IS NOT NULL), ";

static const char sql_locked[] =
    "locked AS MATERIALIZED (SELECT t.{id} AS id FROM {table} AS t "
    "WHERE t.{id} OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.id FROM pending AS p)) AND "
    "(SELECT pg_catalog.set_config('lock_timeout', '500ms', true)) IS NOT NULL AND ";
static const char sql_here[] = STORE_MARK_CONDITION("$4", "$5", "$6");
static const char sql_locks[] = " ORDER BY t.{id} FOR NO KEY UPDATE SKIP LOCKED), ";

static const char sql_updated[] = "updated AS (UPDATE {table} AS t SET {last_used} = p.used";
static const char sql_touches[] = ", {updated} = pg_catalog.now()";
static const char sql_updates[] =
    " FROM pending AS p WHERE t.{id} OPERATOR(pg_catalog.=) p.id "
    "AND t.{id} OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT l.id FROM locked AS l)) "
    "AND (t.{last_used} IS NULL OR t.{last_used} OPERATOR(pg_catalog.<) "
    "(p.used OPERATOR(pg_catalog.-) $3) "
    "OR t.{last_used} OPERATOR(pg_catalog.>) (pg_catalog.now() "
    "OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval)) RETURNING 1) ";

static const char sql_outcome[] =
    "SELECT u.n, s.id, " STORE_MARK ", (SELECT pg_catalog.count(*) FROM pending WHERE ahead), "
    "(SELECT t.{last_used} FROM {table} AS t WHERE false) "
    "FROM (SELECT pg_catalog.count(*) FROM updated) AS u(n) "
    "LEFT JOIN (SELECT t.{id} AS id FROM {table} AS t "
    "WHERE t.{id} OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.id FROM pending AS p)) "
    "EXCEPT SELECT l.id FROM locked AS l) AS s ON true";

enum { PARAM_MARK = 4 };

char *usage_query_sql(const struct config *config)
{
    bool touch = config->usage_touch_updated_at && config->postgres_updated_column[0];
    const char *const parts[] = {
        sql_pending, sql_locked,  sql_here, sql_locks, sql_updated, touch ? sql_touches : "",
        sql_updates, sql_outcome,
    };
    struct buffer sql = {0};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sql_template(&sql, config, parts[i]);
    buffer_append(&sql, "", 1);
    return sql.data;
}

void usage_query_bind(struct pg_query *query, struct usage_params *params, struct usage_batch chunk,
                      int64_t resolution_us, const struct store_mark *mark)
{
    buffer_consume(&params->ids, params->ids.len);
    buffer_consume(&params->times, params->times.len);
    buffer_consume(&params->resolution, params->resolution.len);
    pg_array_begin(&params->ids, pg_id_oid(chunk.type), chunk.len);
    pg_array_begin(&params->times, PG_TIMESTAMPTZ, chunk.len);
    for (size_t i = 0; i < chunk.len; i++) {
        const struct usage_slot *slot = usage_slot_at(chunk.slots, i, chunk.type);
        const struct row_id id = usage_slot_id(slot, chunk.type);

        pg_id_element(&params->ids, &id, chunk.type);
        pg_array_int64(&params->times, slot->last_used_us - PG_EPOCH_US);
    }
    /* interval: microseconds, days, months */
    pg_put_int64(&params->resolution, (uint64_t)resolution_us);
    pg_put_int32(&params->resolution, 0);
    pg_put_int32(&params->resolution, 0);
    query->params = PARAM_MARK + 2;
    store_mark_bind(query, PARAM_MARK, mark, &params->mark);
    query->param[0] = (struct pg_param){pg_id_array_oid(chunk.type), buffer_held(&params->ids)};
    query->param[1] = (struct pg_param){PG_TIMESTAMPTZ_ARRAY, buffer_held(&params->times)};
    query->param[2] = (struct pg_param){PG_INTERVAL, buffer_held(&params->resolution)};
}

void usage_params_free(struct usage_params *params)
{
    buffer_free(&params->ids);
    buffer_free(&params->times);
    buffer_free(&params->resolution);
    buffer_free(&params->mark);
}

bool usage_query_told(const PGresult *result, struct store_told *ret)
{
    return PQntuples(result) > 0 && PQnfields(result) == FIELDS &&
           store_mark_read(PQgetvalue(result, 0, FIELD_STORE), PQgetlength(result, 0, FIELD_STORE),
                           ret);
}

bool usage_query_zoneless(const PGresult *result)
{
    return PQftype(result, FIELD_TIME_TYPE) == PG_TIMESTAMP;
}

bool usage_query_settle(const PGresult *result, struct usage_batch chunk, struct usage_outcome *ret)
{
    int rows = PQntuples(result);
    struct usage_outcome outcome = {0};
    bool *locked;

    if (rows < 1 || PQnfields(result) != FIELDS || PQgetlength(result, 0, FIELD_UPDATED) != 8 ||
        PQgetlength(result, 0, FIELD_CLAMPED) != 8 || !pg_id_fits(result, FIELD_LOCKED, chunk.type))
        return false;
    locked = calloc(chunk.len, sizeof *locked);
    if (!locked)
        return false;
    outcome.updated = (uint64_t)pg_get_int64(PQgetvalue(result, 0, FIELD_UPDATED));
    outcome.clamped = (uint64_t)pg_get_int64(PQgetvalue(result, 0, FIELD_CLAMPED));
    for (int i = 0; i < rows; i++) {
        struct row_id id;

        if (!pg_id_read(result, i, FIELD_LOCKED, chunk.type, &id))
            continue;
        struct usage_slot *slot = usage_batch_find(&chunk, &id);
        if (slot) {
            locked[usage_batch_index(&chunk, slot)] = true;
            outcome.locked++;
        }
    }
    for (size_t i = 0; i < chunk.len; i++) {
        if (!locked[i])
            usage_slot_at(chunk.slots, i, chunk.type)->last_used_us = 0;
    }
    free(locked);
    *ret = outcome;
    return true;
}

/* invalid_parameter_value; the parameter's name is in the message in every language. */
bool usage_query_zone_unknown(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    return state && message && strcmp(state, "22023") == 0 && strstr(message, "TimeZone");
}

/* Classes of SQLSTATE that are about the session, the server or the statement (PostgreSQL manual,
 * "PostgreSQL Error Codes"). A trigger may raise any other, with a code of its owner's making. */
bool usage_query_fault_of_a_row(const PGresult *result)
{
    static const char *const others[] = {"08", "0A", "25", "28", "3D",
                                         "3F", "42", "53", "57", "58"};
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    for (size_t i = 0; state && i < sizeof others / sizeof others[0]; i++) {
        if (strncmp(state, others[i], 2) == 0)
            return false;
    }
    return state != NULL && !usage_query_zone_unknown(result);
}
