/* SPDX-License-Identifier: MIT */
#include "apikeyd/heartbeat_query.h"

#include "apikeyd/pg_array.h"

enum { FIELD_CLOCK, FIELD_PID, FIELD_NOTIFIES, FIELD_DEFINITION, FIELDS };

/* $1 schema, or '' for the search path; $2 table; $3 key column, which the triggers name as their
 * argument (tgargs ends each with a zero byte).
 * tgenabled: 'A' fires in a replica's session too. tgtype: INSERT is 4, DELETE 8, UPDATE 16 and
 * TRUNCATE 32 (PostgreSQL manual, pg_trigger; pg_trigger.h). */
static const char sql[] =
    "SELECT clock_timestamp(), pg_backend_pid(), coalesce(d.notifies, false), "
    "coalesce(d.definition, 0) FROM (SELECT bit_or(t.tgtype) FILTER (WHERE t.tgenabled = 'A' "
    "AND p.proname = 'notify_key_change' AND pn.nspname = 'apikeyd' "
    "AND t.tgargs = convert_to($3, 'UTF8') || '\\x00') & 60 = 60 AS notifies, "
    "hashtextextended(string_agg(concat_ws(' ', c.oid, c.xmin, t.oid, t.xmin, p.xmin, "
    "(SELECT string_agg(a.xmin::text, ' ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a "
    "WHERE a.attrelid = c.oid)), ',' ORDER BY t.oid), 0) AS definition "
    "FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid "
    "LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid "
    "LEFT JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.pronamespace "
    "WHERE c.relname = $2 AND CASE WHEN $1 = '' THEN pg_catalog.pg_table_is_visible(c.oid) "
    "ELSE n.nspname = $1 END) AS d";

/* "schema.table", or a table that the search path finds. */
static void split_table(const char *name, struct slice *ret_schema, struct slice *ret_table)
{
    const char *dot = strchr(name, '.');
    const char *table = dot ? dot + 1 : name;

    *ret_schema = (struct slice){name, dot ? (size_t)(dot - name) : 0};
    *ret_table = (struct slice){table, strlen(table)};
}

void heartbeat_query_bind(struct pg_query *query, const struct config *config)
{
    struct slice key_column = {config->postgres_key_column, strlen(config->postgres_key_column)};
    struct slice schema, table;

    split_table(config->postgres_table, &schema, &table);
    query->sql = sql;
    query->params = 3;
    query->param[0] = (struct pg_param){PG_TEXT, schema};
    query->param[1] = (struct pg_param){PG_TEXT, table};
    query->param[2] = (struct pg_param){PG_TEXT, key_column};
}

bool heartbeat_query_read(const PGresult *result, struct heartbeat *ret)
{
    static const int len[FIELDS] = {8, 4, 1, 8};

    if (PQntuples(result) != 1 || PQnfields(result) != FIELDS)
        return false;
    for (int i = 0; i < FIELDS; i++) {
        if (PQgetlength(result, 0, i) != len[i])
            return false;
    }
    *ret = (struct heartbeat){
        .server_us = pg_get_int64(PQgetvalue(result, 0, FIELD_CLOCK)) + PG_EPOCH_US,
        .server_pid = pg_get_int32(PQgetvalue(result, 0, FIELD_PID)),
        .notifies = PQgetvalue(result, 0, FIELD_NOTIFIES)[0] != 0,
        .definition = pg_get_int64(PQgetvalue(result, 0, FIELD_DEFINITION)),
    };
    return true;
}
