/* SPDX-License-Identifier: MIT */
#include "trigger_inspection.h"

#include <apikeyd/postgres/pg_array.h>

static struct pg_param text_param(const char *text)
{
    return (struct pg_param){PG_TEXT, {text, strlen(text)}};
}

void trigger_inspection_bind(struct pg_query *query, const struct schema_inspection *expected)
{
    query->sql = expected->sql;
    query->params = SCHEMA_INSPECTION_PARAMS;
    for (int i = 0; i < SCHEMA_INSPECTION_PARAMS; i++)
        query->param[i] = text_param(expected->param[i].data);
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
    if (PQntuples(result) != 1 || PQnfields(result) != SCHEMA_INSPECTION_FIELDS ||
        PQgetlength(result, 0, SCHEMA_INSPECTION_BY_HEARTBEAT) != 1)
        return false;
    snprintf(ret->problem, sizeof ret->problem, "%s",
             PQgetvalue(result, 0, SCHEMA_INSPECTION_PROBLEM));
    ret->by_heartbeat = PQgetvalue(result, 0, SCHEMA_INSPECTION_BY_HEARTBEAT)[0] != 0;
    ret->writers_known = read_writers(result, SCHEMA_INSPECTION_WRITERS, ret->writers);
    return true;
}
