/* SPDX-License-Identifier: MIT */
#include "apikeyd/key_query.h"

#include <string.h>

#include "apikeyd/buffer.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/sql_name.h"

enum { COLUMN_KEY, COLUMN_API_KEY_ID, COLUMN_USER_ID, COLUMN_ACTIVE, COLUMN_READ, COLUMNS };

char *key_query_sql(const struct config *config)
{
    struct buffer sql = {0};

    /* statement_timestamp() is taken before the rows are read, so no change after it is missed by
     * a verdict of that age. A null is_active is not true. */
    buffer_printf(&sql, "SELECT k.n, t.api_key_id, t.user_id, t.is_active IS TRUE, "
                        "statement_timestamp() "
                        "FROM unnest($1) WITH ORDINALITY AS k(key, n) JOIN ");
    sql_name_append(&sql, config->postgres_table);
    buffer_printf(&sql, " AS t ON t.");
    sql_name_append(&sql, config->postgres_key_column);
    buffer_printf(&sql, " = k.key ORDER BY k.n, t.created_at, t.api_key_id");
    buffer_append(&sql, "", 1);
    return sql.data;
}

bool key_query_valid(const PGresult *result)
{
    static const int len[COLUMNS] = {8, 16, 16, 1, 8};

    if (PQnfields(result) != COLUMNS)
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        for (int column = 0; column < COLUMNS; column++) {
            if (PQgetlength(result, i, column) != len[column])
                return false;
        }
    }
    return true;
}

bool key_query_row(const PGresult *result, int i, struct key_row *ret)
{
    if (i >= PQntuples(result))
        return false;
    ret->key = (size_t)pg_get_int64(PQgetvalue(result, i, COLUMN_KEY)) - 1;
    memcpy(&ret->api_key_id, PQgetvalue(result, i, COLUMN_API_KEY_ID), sizeof ret->api_key_id);
    memcpy(&ret->user_id, PQgetvalue(result, i, COLUMN_USER_ID), sizeof ret->user_id);
    ret->active = PQgetvalue(result, i, COLUMN_ACTIVE)[0] != 0;
    ret->server_read_us = pg_get_int64(PQgetvalue(result, i, COLUMN_READ)) + PG_EPOCH_US;
    return true;
}

void key_query_combine(struct verdict *verdict, const struct key_row *row)
{
    if (verdict->rows++ == 0) {
        verdict->kind = VERDICT_ALLOW;
        verdict->api_key_id = row->api_key_id;
        verdict->user_id = row->user_id;
    }
    if (!row->active)
        verdict->kind = VERDICT_DENY_INACTIVE;
}
