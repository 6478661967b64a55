/* SPDX-License-Identifier: MIT */
#include "apikeyd/trigger_inspection.h"

#include "apikeyd/pg_array.h"
#include "apikeyd/store_query.h"
#include "trigger_function.h"
#include "trigger_inspection_sql.h"

void trigger_inspection_bind(struct pg_query *query, const struct config *config)
{
    const char *key_column = config->postgres_key_column;

    query->sql = (const char *)trigger_inspection_sql;
    query->params = 4;
    store_query_name_table(query, config);
    query->param[2] = (struct pg_param){PG_TEXT, {key_column, strlen(key_column)}};
    query->param[3] =
        (struct pg_param){PG_TEXT, {TRIGGER_FUNCTION_SHA256, strlen(TRIGGER_FUNCTION_SHA256)}};
}

bool trigger_inspection_read(const PGresult *result, char ret_problem[static INSPECTION_SIZE])
{
    if (PQntuples(result) != 1 || PQnfields(result) != 1)
        return false;
    snprintf(ret_problem, INSPECTION_SIZE, "%s", PQgetvalue(result, 0, 0));
    return true;
}
