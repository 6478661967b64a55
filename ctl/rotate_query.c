/* SPDX-License-Identifier: MIT */
#include "rotate_query.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/config/sql_template.h>
#include <apikeyd/schema/schema_sql.h>

enum { NUMBER_SIZE = 24 };

#define TIME(column) "{" column "}::pg_catalog.timestamptz"
#define NOW "pg_catalog.clock_timestamp()"
#define WHICH "WHERE {id} OPERATOR(pg_catalog.=) $1"

PGresult *rotate_query_begin(struct keys_db *db)
{
    /* The level matters: each statement has to see what was committed before it. */
    PGresult *result =
        keys_db_query(db, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 0, NULL);

    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return result;
    PQclear(result);
    return keys_db_query(
        db,
        "SELECT pg_catalog.set_config('lock_timeout', '3s', true), "
        "pg_catalog.set_config('bytea_output', 'hex', true), " /* the form of a hash */
        "pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)",
        0, NULL);
}

#define AFTER_OVERLAP                                                                              \
    NOW " OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $3::pg_catalog.float8)"

PGresult *rotate_query_lock(struct keys_db *db, const struct rotation *rotation)
{
    const struct config *config = keys_db_config(db);
    char overlap[NUMBER_SIZE];
    const char *const values[] = {rotation->id, rotation->user, overlap};
    struct buffer sql = {0};

    snprintf(overlap, sizeof overlap, "%" PRId64, rotation->overlap_s);
    sql_template(&sql, config, "SELECT ");
    sql_template(&sql, config, config->postgres_active_column[0] ? "{active} IS TRUE" : "true");
    sql_template(&sql, config,
                 ", coalesce(" TIME("expires") " OPERATOR(pg_catalog.<=) " NOW ", false), ");
    sql_template(&sql, config,
                 config->postgres_not_before_column[0]
                     ? "coalesce(" TIME("not_before") " OPERATOR(pg_catalog.>) " NOW ", false)"
                     : "false");
    sql_template(&sql, config,
                 ", (SELECT NOT c.relispartition FROM pg_catalog.pg_class AS c "
                 "WHERE c.oid OPERATOR(pg_catalog.=) {table}.tableoid "
                 "AND c.oid OPERATOR(pg_catalog.<>) {table_text}::pg_catalog.regclass) IS TRUE, "
                 "EXTRACT(EPOCH FROM LEAST(" TIME("expires") ", " AFTER_OVERLAP "))");
    sql_template(&sql, config,
                 " FROM {table} " WHICH
                 " AND ({user} OPERATOR(pg_catalog.=) $2 OR $2 IS NULL) FOR NO KEY UPDATE");
    return keys_db_execute(db, &sql, sizeof values / sizeof values[0], values);
}

PGresult *rotate_query_successors(struct keys_db *db, const struct rotation *rotation)
{
    return keys_db_query(db,
                         "SELECT {id}::pg_catalog.text FROM {table} "
                         "WHERE {successor_of} OPERATOR(pg_catalog.=) $1 ORDER BY {id} LIMIT 1",
                         1, &rotation->id);
}

/* A default that takes from a sequence. */
#define FROM_SEQUENCE                                                                              \
    "EXISTS (SELECT FROM pg_catalog.pg_attrdef AS d "                                              \
    "JOIN pg_catalog.pg_depend AS p "                                                              \
    "ON p.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass "            \
    "AND p.objid OPERATOR(pg_catalog.=) d.oid "                                                    \
    "AND p.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "          \
    "JOIN pg_catalog.pg_class AS s ON s.oid OPERATOR(pg_catalog.=) p.refobjid "                    \
    "AND s.relkind OPERATOR(pg_catalog.=) 'S' "                                                    \
    "WHERE d.adrelid OPERATOR(pg_catalog.=) a.attrelid "                                           \
    "AND d.adnum OPERATOR(pg_catalog.=) a.attnum)"

#define UNIQUE_ALONE                                                                               \
    "EXISTS (SELECT FROM pg_catalog.pg_index AS x "                                                \
    "WHERE x.indrelid OPERATOR(pg_catalog.=) a.attrelid AND x.indisunique "                        \
    "AND x.indnkeyatts OPERATOR(pg_catalog.=) 1 "                                                  \
    "AND x.indkey[0] OPERATOR(pg_catalog.=) a.attnum)"

#define ASKED_FOR                                                                                  \
    "(a.attname::pg_catalog.text OPERATOR(pg_catalog.=) "                                          \
    "ANY (pg_catalog.string_to_array($5, ','))) IS TRUE"

/* What is told to gateways is no key. */
#define ATTRIBUTE "a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($6::pg_catalog.text[])"

/* $4 is the form of a hash. */
#define ABOUT_THE_KEY                                                                              \
    "a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT j.key FROM {table} AS t " \
    "CROSS JOIN LATERAL pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t.*)) AS j "                \
    "WHERE t.{id} OPERATOR(pg_catalog.=) $1 AND (j.value OPERATOR(pg_catalog.~) $4 "               \
    "OR j.value OPERATOR(pg_catalog.=) t.{key}::pg_catalog.text"

#define COLUMNS                                                                                    \
    "SELECT pg_catalog.quote_ident(a.attname), CASE "                                              \
    "WHEN a.attgenerated OPERATOR(pg_catalog.<>) '' "                                              \
    "OR a.attidentity OPERATOR(pg_catalog.<>) '' OR " FROM_SEQUENCE " THEN 'made' "                \
    "WHEN a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3::pg_catalog.text[]) "          \
    "OR " ASKED_FOR " THEN 'copied' WHEN " UNIQUE_ALONE " THEN 'unique' WHEN " ATTRIBUTE           \
    " THEN 'copied' WHEN " ABOUT_THE_KEY

static const char sql_columns[] = COLUMNS;
static const char sql_or_fallback[] =
    " OR j.value OPERATOR(pg_catalog.=) t.{fallback}::pg_catalog.text";
static const char sql_of_table[] =
    "))) THEN 'key' ELSE 'copied' END, " ASKED_FOR " FROM pg_catalog.pg_attribute AS a "
    "WHERE a.attrelid OPERATOR(pg_catalog.=) {table_text}::pg_catalog.regclass "
    "AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped "
    "AND a.attname::pg_catalog.text OPERATOR(pg_catalog.<>) ALL ($2::pg_catalog.text[]) "
    "ORDER BY a.attnum";

/* The text of an array of those names that are not empty. */
static void append_names(struct buffer *array, const char *const *names, size_t count)
{
    const char *set[SCHEMA_COLUMNS_MAX];
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        if (names[i][0])
            set[len++] = names[i];
    }
    set[len] = NULL;
    schema_array_append(array, set);
    buffer_append(array, "", 1);
}

PGresult *rotate_query_columns(struct keys_db *db, const struct rotation *rotation)
{
    static const char hash_form[] = "^(\\\\x)?[0-9a-fA-F]{64}$";
    const struct config *config = keys_db_config(db);
    const char *const own[] = {
        config->postgres_id_column,
        config->postgres_key_column,
        config->postgres_key_column_fallback,
        config->postgres_last_used_column,
        config->postgres_updated_column,
        config->postgres_created_column,
        config->postgres_successor_of_column,
        rotation->name ? config->postgres_name_column : "",
        rotation->lifetime_s == LIFETIME_OF_OLD ? "" : config->postgres_expires_column,
    };
    const char *const kept[] = {config->postgres_user_column,    config->postgres_active_column,
                                config->postgres_name_column,    config->postgres_not_before_column,
                                config->postgres_expires_column, config->postgres_quota_column};
    const char *attributes[ATTRIBUTES_MAX] = {NULL};
    size_t count = config->postgres_attribute_columns.len;
    struct buffer not_copied = {0}, copied = {0}, attribute_names = {0}, sql = {0};

    for (size_t i = 0; i < count; i++)
        attributes[i] = config->postgres_attribute_columns.column[i].name;
    append_names(&not_copied, own, sizeof own / sizeof own[0]);
    append_names(&copied, kept, sizeof kept / sizeof kept[0]);
    append_names(&attribute_names, attributes, count);
    const char *const values[] = {rotation->id, not_copied.data, copied.data,
                                  hash_form,    rotation->copy,  attribute_names.data};
    sql_template(&sql, config, sql_columns);
    if (config->postgres_key_column_fallback[0])
        sql_template(&sql, config, sql_or_fallback);
    sql_template(&sql, config, sql_of_table);
    PGresult *result = keys_db_execute(db, &sql, sizeof values / sizeof values[0], values);
    buffer_free(&not_copied);
    buffer_free(&copied);
    buffer_free(&attribute_names);
    return result;
}

PGresult *rotate_query_referrers(struct keys_db *db)
{
    return keys_db_query(
        db,
        "SELECT DISTINCT r.conrelid::pg_catalog.regclass::pg_catalog.text "
        "FROM pg_catalog.pg_constraint AS r WHERE r.contype OPERATOR(pg_catalog.=) 'f' "
        "AND r.conparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid "
        "AND r.confrelid OPERATOR(pg_catalog.=) {table_text}::pg_catalog.regclass "
        "AND r.conrelid OPERATOR(pg_catalog.<>) r.confrelid ORDER BY 1",
        0, NULL);
}

/* INSERT INTO the table (names) SELECT expressions FROM the old row. */
struct insert {
    const struct config *config;
    struct buffer names, expressions;
    const char *value[8];
    int len;
};

/* A column that has `before` the parameter `after`. */
static void add(struct insert *insert, const char *column, const char *before, const char *value,
                const char *after)
{
    const char *comma = insert->names.len > 0 ? ", " : "";

    buffer_text(&insert->names, comma);
    sql_template(&insert->names, insert->config, column);
    insert->value[insert->len++] = value;
    buffer_printf(&insert->expressions, "%s%s$%d%s", comma, before, insert->len, after);
}

static void add_copies(struct insert *insert, const PGresult *columns)
{
    for (int i = 0; i < PQntuples(columns); i++) {
        const char *name = PQgetvalue(columns, i, COLUMN_NAME);

        if (strcmp(PQgetvalue(columns, i, COLUMN_FATE), "copied") != 0)
            continue;
        buffer_printf(&insert->names, ", %s", name);
        buffer_printf(&insert->expressions, ", t.%s", name);
    }
}

PGresult *rotate_query_insert(struct keys_db *db, const struct rotation *rotation,
                              const PGresult *columns)
{
    struct insert insert = {.config = keys_db_config(db)};
    char lifetime[NUMBER_SIZE];
    struct buffer sql = {0};

    snprintf(lifetime, sizeof lifetime, "%" PRId64, rotation->lifetime_s);
    add(&insert, "{successor_of}", "", rotation->id, "");
    add(&insert, "{key}", "", rotation->column, "");
    if (rotation->fallback)
        add(&insert, "{fallback}", "", rotation->fallback, "");
    if (rotation->new_id)
        add(&insert, "{id}", "", rotation->new_id, "");
    if (rotation->name)
        add(&insert, "{name}", "", rotation->name, "");
    if (rotation->lifetime_s == LIFETIME_UNLIMITED)
        add(&insert, "{expires}", "", NULL, "");
    else if (rotation->lifetime_s != LIFETIME_OF_OLD)
        add(&insert, "{expires}", NOW " OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => ",
            lifetime, "::pg_catalog.float8)");
    add_copies(&insert, columns);
    sql_template(&sql, insert.config, "INSERT INTO {table} (");
    buffer_append(&sql, insert.names.data, insert.names.len);
    buffer_text(&sql, ") SELECT ");
    buffer_append(&sql, insert.expressions.data, insert.expressions.len);
    insert.value[insert.len++] = rotation->id;
    sql_template(&sql, insert.config, " FROM {table} AS t WHERE t.{id} OPERATOR(pg_catalog.=) ");
    buffer_printf(&sql, "$%d RETURNING ", insert.len);
    keys_db_append_row(&sql, insert.config);
    sql_template(&sql, insert.config,
                 ", coalesce({successor_of} OPERATOR(pg_catalog.=) $1 "
                 "AND {key}::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text, false)");
    PGresult *result = keys_db_execute(db, &sql, insert.len, insert.value);
    buffer_free(&insert.names);
    buffer_free(&insert.expressions);
    return result;
}

/* As a column without time zone holds it: when summer time ends it cannot tell an hour from the one
 * before. A column may hold whole seconds only. */
#define END "pg_catalog.to_timestamp($2::pg_catalog.float8)"
#define LOCAL(time) time "::pg_catalog.timestamp"
#define SLACK "'1 s'::pg_catalog.interval"

PGresult *rotate_query_end(struct keys_db *db, const struct rotation *rotation)
{
    const struct config *config = keys_db_config(db);
    const char *const values[] = {rotation->id, rotation->end};
    struct buffer sql = {0};

    sql_template(&sql, config,
                 "UPDATE {table} SET {expires} = LEAST(" TIME("expires") ", " END ")");
    if (config->postgres_updated_column[0])
        sql_template(&sql, config, ", {updated} = pg_catalog.now()");
    sql_template(&sql, config, " " WHICH " RETURNING ");
    keys_db_append_row(&sql, config);
    sql_template(&sql, config,
                 ", coalesce(" LOCAL("{expires}") " OPERATOR(pg_catalog.>=) (" LOCAL(
                     END) " "
                          "OPERATOR(pg_catalog.-) " SLACK
                          ") AND " LOCAL("{expires}") " "
                                                      "OPERATOR(pg_catalog.<=) (" LOCAL(
                                                          END) " OPERATOR(pg_catalog.+) " SLACK
                                                               "), false)");
    return keys_db_execute(db, &sql, 2, values);
}
