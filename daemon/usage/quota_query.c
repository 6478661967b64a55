/* SPDX-License-Identifier: MIT */
#include "quota_query.h"

#include <apikeyd/config/sql_template.h>
#include <apikeyd/model/month.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_id.h>

enum { FIELD_ID, FIELD_USES, FIELD_MONTH, FIELDS };

enum { PARAM_MARK = 2 };

/* A month begins in UTC, whatever the session's time zone. 32 days after its first instant it is
 * the next month. */
#define MONTH "pg_catalog.date_trunc('month', pg_catalog.statement_timestamp(), 'UTC')"
#define NEXT_MONTH                                                                                 \
    "pg_catalog.date_trunc('month', " MONTH " OPERATOR(pg_catalog.+) "                             \
    "'32 days'::pg_catalog.interval, 'UTC')"

static const char sql_sums[] =
    "SELECT k.id, coalesce((SELECT pg_catalog.sum(u.uses) FROM {usage_table} AS u "
    "WHERE u.api_key_id OPERATOR(pg_catalog.=) k.id "
    "AND u.bucket OPERATOR(pg_catalog.>=) " MONTH " "
    "AND u.bucket OPERATOR(pg_catalog.<) " NEXT_MONTH " "
    "AND u.verdict OPERATOR(pg_catalog.=) 'allow'), "
    "0::pg_catalog.numeric)::pg_catalog.int8, " MONTH " "
    "FROM pg_catalog.unnest($1) AS k(id) WHERE ";
static const char sql_here[] = STORE_MARK_CONDITION("$2", "$3", "$4");

char *quota_query_sql(const struct config *config)
{
    struct buffer sql = {0};

    sql_template(&sql, config, sql_sums);
    sql_template(&sql, config, sql_here);
    buffer_append(&sql, "", 1);
    return sql.data;
}

void quota_query_bind(struct pg_query *query, struct quota_params *params,
                      const struct row_id *const ids[], size_t len, enum id_type type,
                      const struct store_mark *mark)
{
    buffer_consume(&params->ids, params->ids.len);
    buffer_consume(&params->mark, params->mark.len);
    pg_array_begin(&params->ids, pg_id_oid(type), len);
    for (size_t i = 0; i < len; i++)
        pg_id_element(&params->ids, ids[i], type);
    query->params = PARAM_MARK + 2;
    store_mark_bind(query, PARAM_MARK, mark, &params->mark);
    query->param[0] = (struct pg_param){pg_id_array_oid(type), buffer_held(&params->ids)};
}

void quota_params_free(struct quota_params *params)
{
    buffer_free(&params->ids);
    buffer_free(&params->mark);
}

bool quota_query_valid(const PGresult *result, enum id_type type)
{
    if (PQnfields(result) != FIELDS || !pg_id_fits(result, FIELD_ID, type))
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        if (PQgetlength(result, i, FIELD_USES) != 8 || PQgetlength(result, i, FIELD_MONTH) != 8)
            return false;
    }
    return true;
}

void quota_query_row(const PGresult *result, int i, enum id_type type, struct quota_sum *ret)
{
    static const int64_t hour_us = INT64_C(3600000000);
    int64_t begins_us = pg_get_int64(PQgetvalue(result, i, FIELD_MONTH)) + PG_EPOCH_US;
    int64_t uses = pg_get_int64(PQgetvalue(result, i, FIELD_USES));

    *ret = (struct quota_sum){
        .month = begins_us > 0 ? month_of_hour((uint32_t)(begins_us / hour_us)) : 0,
        .uses = uses > 0 ? (uint64_t)uses : 0,
    };
    (void)pg_id_read(result, i, FIELD_ID, type, &ret->id);
}
