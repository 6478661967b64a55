/* SPDX-License-Identifier: MIT */
#include "trigger_inspection.h"

#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/store_query.h>

#include "trigger_function.h"
#include "trigger_inspection_sql.h"

static struct pg_param text_param(const char *text)
{
    return (struct pg_param){PG_TEXT, {text, strlen(text)}};
}

void trigger_inspection_bind(struct pg_query *query, const struct config *config)
{
    query->sql = (const char *)trigger_inspection_sql;
    query->params = 5;
    store_query_name_table(query, config);
    query->param[2] = text_param(config->postgres_key_column);
    query->param[3] = text_param(TRIGGER_FUNCTION_SHA256);
    query->param[4] = text_param(NOTE_FUNCTION_SHA256);
}

void trigger_inspection_bind_writers(struct pg_query *query, const char *writers)
{
    query->sql = "SELECT coalesce(pg_catalog.string_agg(DISTINCT w.virtualtransaction, ','), '') "
                 "FROM pg_catalog.pg_locks AS w WHERE w.virtualtransaction "
                 "OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array($1, ','))";
    query->params = 1;
    query->param[0] = text_param(writers);
}

/* A list that is too long is useless: the inspection is repeated. */
static bool read_writers(const PGresult *result, int column, char ret[static WRITERS_SIZE])
{
    int len = PQgetlength(result, 0, column);

    if (len >= WRITERS_SIZE)
        return false;
    memcpy(ret, PQgetvalue(result, 0, column), (size_t)len + 1);
    return true;
}

bool trigger_inspection_read_writers(const PGresult *result, char ret_writers[static WRITERS_SIZE])
{
    return PQntuples(result) == 1 && PQnfields(result) == 1 && read_writers(result, 0, ret_writers);
}

bool trigger_inspection_read(const PGresult *result, struct inspection *ret)
{
    if (PQntuples(result) != 1 || PQnfields(result) != 2)
        return false;
    snprintf(ret->problem, sizeof ret->problem, "%s", PQgetvalue(result, 0, 0));
    ret->writers_known = read_writers(result, 1, ret->writers);
    return true;
}
