/* SPDX-License-Identifier: MIT */
#include "apikeyd/key_query.h"

#include <string.h>

#include "apikeyd/buffer.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/sql_name.h"

enum {
    COLUMN_KEY,
    COLUMN_API_KEY_ID,
    COLUMN_USER_ID,
    COLUMN_ACTIVE,
    COLUMN_CREATED,
    COLUMN_READ,
    COLUMNS
};

char *key_query_sql(const struct config *config)
{
    struct buffer sql = {0};

    /* statement_timestamp() is taken before the rows are read, so no change after it is missed by
     * a verdict of that age. A null is_active is not true. */
    buffer_printf(&sql, "SELECT t.");
    sql_name_append(&sql, config->postgres_key_column);
    buffer_printf(&sql, "::text, t.api_key_id, t.user_id, t.is_active IS TRUE, t.created_at, "
                        "statement_timestamp() FROM ");
    sql_name_append(&sql, config->postgres_table);
    buffer_printf(&sql, " AS t WHERE t.");
    sql_name_append(&sql, config->postgres_key_column);
    buffer_printf(&sql, " = ANY($1)");
    buffer_append(&sql, "", 1);
    return sql.data;
}

bool key_query_valid(const PGresult *result)
{
    static const int len[COLUMNS] = {
        [COLUMN_API_KEY_ID] = 16, [COLUMN_USER_ID] = 16, [COLUMN_ACTIVE] = 1, [COLUMN_READ] = 8};

    if (PQnfields(result) != COLUMNS)
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        for (int column = 0; column < COLUMNS; column++) {
            if (len[column] > 0 && PQgetlength(result, i, column) != len[column])
                return false;
        }
        if (PQgetlength(result, i, COLUMN_CREATED) != 8 && !PQgetisnull(result, i, COLUMN_CREATED))
            return false;
    }
    return true;
}

void key_query_row(const PGresult *result, int i, struct key_row *ret)
{
    ret->key.at = PQgetvalue(result, i, COLUMN_KEY);
    ret->key.len = (size_t)PQgetlength(result, i, COLUMN_KEY);
    memcpy(&ret->api_key_id, PQgetvalue(result, i, COLUMN_API_KEY_ID), sizeof ret->api_key_id);
    memcpy(&ret->user_id, PQgetvalue(result, i, COLUMN_USER_ID), sizeof ret->user_id);
    ret->active = PQgetvalue(result, i, COLUMN_ACTIVE)[0] != 0;
    ret->created_at = PQgetisnull(result, i, COLUMN_CREATED)
                          ? INT64_MAX
                          : pg_get_int64(PQgetvalue(result, i, COLUMN_CREATED));
    ret->server_read_us = pg_get_int64(PQgetvalue(result, i, COLUMN_READ)) + PG_EPOCH_US;
}

static bool is_older(const struct key_row *row, const struct key_finding *finding)
{
    if (row->created_at != finding->created_at)
        return row->created_at < finding->created_at;
    return uuid_order(&row->api_key_id, &finding->verdict.api_key_id) < 0;
}

void key_query_combine(struct key_finding *finding, const struct key_row *row)
{
    struct verdict *verdict = &finding->verdict;
    bool first = verdict->rows++ == 0;

    if (first || is_older(row, finding)) {
        verdict->api_key_id = row->api_key_id;
        verdict->user_id = row->user_id;
        finding->created_at = row->created_at;
    }
    if (first)
        verdict->kind = VERDICT_ALLOW;
    if (!row->active)
        verdict->kind = VERDICT_DENY_INACTIVE;
    finding->server_read_us = row->server_read_us;
}
