/* SPDX-License-Identifier: MIT */
#include "usage_db.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include <apikeyd/config/sql_template.h>
#include <apikeyd/schema/schema_sql.h>
#include <apikeyd/schema/usage_names.h>

#include "database.h"
#include "die.h"

enum { SINCE_SIZE = 32 };

struct usage_db {
    PGconn *connection;
    const struct config *config;
    const struct usage_question *question;
    char first[SINCE_SIZE]; /* a timestamp in UTC */
    char since[SINCE_SIZE];
    bool reads_names;
};

/* The numbers of an answer, and how SQL adds them up; a total comes last. */
static const char *const numbers[] = {"allow", "inactive", "expired", "early", "total"};

#define SUM(verdict)                                                                               \
    "coalesce(sum(uses) FILTER (WHERE verdict = '" verdict "'), 0)::int8 AS " verdict
#define SUMS                                                                                       \
    SUM("allow")                                                                                   \
    ", " SUM("inactive") ", " SUM("expired") ", " SUM("early") ", sum(uses)::int8 AS total"

static PGresult *ask(struct usage_db *db, const char *text, int params, const char *const *values)
{
    struct buffer sql = {0};

    sql_template(&sql, db->config, text);
    buffer_append(&sql, "", 1);
    PGresult *result = PQexecParams(db->connection, sql.data, params, NULL, values, NULL, NULL, 0);
    buffer_free(&sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

        if (!state || !message)
            die(EX_UNAVAILABLE, "the database: %s", PQresultErrorMessage(result));
        if (strcmp(state, "42501") == 0) /* insufficient_privilege */
            die(EX_NOPERM,
                "the database: %s; name a role that may read the counts with --dsn or "
                "$APIKEYCTL_DSN",
                message);
        if (strncmp(state, "22", 2) == 0) /* data exceptions */
            die(EX_DATAERR, "the database: %s", message);
        die(STATUS_FAILED, "the database: %s", message);
    }
    return result;
}

/* The table is looked for by its schema's name: a cast of the whole name needs rights on that. */
static void look(struct usage_db *db)
{
    const struct config *config = db->config;
    struct buffer schema = {0}, table = {0};
    char seconds[24];

    schema_table_append(&schema, &table, config->postgres_usage_table);
    buffer_append(&schema, "", 1);
    buffer_append(&table, "", 1);
    snprintf(seconds, sizeof seconds, "%" PRId64, db->question->since_s);
    const char *const place[] = {schema.data, table.data};
    PGresult *result =
        ask(db,
            "SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f', 'm')",
            2, place);
    if (PQntuples(result) == 0)
        die(STATUS_FAILED,
            "table %s.%s is missing: make it with apikeyctl schema sql --part usage, or name it in "
            "postgres.usage_table",
            schema.data, table.data);
    PQclear(result);
    const char *const values[] = {db->question->by, seconds,
                                  config->postgres_name_column[0] ? config->postgres_name_column
                                                                  : "-"};
    result = ask(db,
                 "SELECT first, to_char(first, 'YYYY-MM-DD HH24:MI \"UTC\"'), "
                 "coalesce(has_column_privilege(to_regclass({table_text}), a.attname, 'SELECT'), "
                 "false) "
                 "FROM date_trunc($1, timezone('UTC', now() - make_interval(secs => $2::float8))) "
                 "AS first LEFT JOIN pg_attribute AS a "
                 "ON a.attrelid = to_regclass({table_text}) AND a.attname = $3",
                 3, values);
    snprintf(db->first, sizeof db->first, "%s", PQgetvalue(result, 0, 0));
    snprintf(db->since, sizeof db->since, "%s", PQgetvalue(result, 0, 1));
    db->reads_names = PQgetvalue(result, 0, 2)[0] == 't';
    PQclear(result);
    buffer_free(&schema);
    buffer_free(&table);
}

static PGconn *connect_pinned(const struct request *request, const struct config *config)
{
    PGconn *connection = database_connect(request, config);

    database_pin_path(connection);
    return connection;
}

struct usage_db *usage_db_open(const struct request *request, const struct config *config,
                               const struct usage_question *question)
{
    struct usage_db *db = calloc(1, sizeof *db);

    if (!db)
        die(EX_OSERR, "out of memory");
    db->config = config;
    db->question = question;
    db->connection = connect_pinned(request, config);
    look(db);
    return db;
}

void usage_db_close(struct usage_db *db)
{
    PQfinish(db->connection);
    free(db);
}

const char *usage_db_since(const struct usage_db *db)
{
    return db->since;
}

bool usage_db_has_key(struct usage_db *db)
{
    const struct usage_question *question = db->question;
    const char *const values[] = {question->key ? question->key : question->user};
    PGresult *result = ask(db,
                           question->key ? "SELECT FROM {table} WHERE {id} = $1 LIMIT 1"
                                         : "SELECT FROM {table} WHERE {user} = $1 LIMIT 1",
                           1, values);
    bool found = PQntuples(result) > 0;

    PQclear(result);
    return found;
}

/* Rows since $1, and of the question's key or user, which is $2. Returns how many parameters. */
static int append_condition(const struct usage_db *db, struct buffer *sql, const char **ret_value)
{
    const struct usage_question *question = db->question;

    buffer_text(sql,
                " FROM {usage_table} WHERE bucket >= $1::pg_catalog.timestamp AT TIME ZONE 'UTC'");
    if (question->rotated)
        buffer_text(sql, " AND api_key_id IN (SELECT $2 UNION ALL (WITH RECURSIVE line AS ("
                         "SELECT {id} AS id, {successor_of} AS of FROM {table} WHERE {id} = $2 "
                         "UNION SELECT k.{id}, k.{successor_of} FROM {table} AS k "
                         "JOIN line ON k.{successor_of} = line.id OR k.{id} = line.of) "
                         "SELECT id FROM line))");
    else if (question->key)
        buffer_text(sql, " AND api_key_id = $2");
    else if (question->user)
        buffer_text(sql, " AND api_key_id IN (SELECT {id} FROM {table} WHERE {user} = $2)");
    *ret_value = question->key ? question->key : question->user;
    return *ret_value ? 2 : 1;
}

static void add_numbers(json_t *row, const PGresult *result, int line, int column)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_object_set_new(
            row, numbers[i],
            json_integer(strtoll(PQgetvalue(result, line, column + (int)i), NULL, 10)));
}

json_t *usage_db_times(struct usage_db *db)
{
    const char *by = db->question->by;
    const char *values[] = {db->first, NULL};
    const char *form = "YYYY-MM-DD";
    json_t *rows = json_array();
    struct buffer sql = {0};

    if (strcmp(by, "hour") == 0)
        form = "YYYY-MM-DD\"T\"HH24:MI\"Z\"";
    if (strcmp(by, "month") == 0)
        form = "YYYY-MM";
    buffer_printf(&sql,
                  "SELECT to_char(t, '%s'), coalesce(allow, 0), coalesce(inactive, 0), "
                  "coalesce(expired, 0), coalesce(early, 0), coalesce(total, 0) "
                  "FROM generate_series($1::pg_catalog.timestamp, timezone('UTC', now()), '1 %s') "
                  "AS t LEFT JOIN (SELECT date_trunc('%s', timezone('UTC', bucket)) AS t, " SUMS,
                  form, by, by);
    int params = append_condition(db, &sql, &values[1]);
    buffer_text(&sql, " GROUP BY 1) AS c USING (t) ORDER BY t");
    buffer_append(&sql, "", 1);
    PGresult *result = ask(db, sql.data, params, values);
    for (int i = 0; i < PQntuples(result); i++) {
        json_t *row = json_pack("{s:s}", "time", PQgetvalue(result, i, 0));

        add_numbers(row, result, i, 1);
        json_array_append_new(rows, row);
    }
    PQclear(result);
    buffer_free(&sql);
    return rows;
}

static json_t *text_or_null(const PGresult *result, int line, int column)
{
    return PQgetisnull(result, line, column) ? json_null()
                                             : json_string(PQgetvalue(result, line, column));
}

json_t *usage_db_busiest(struct usage_db *db)
{
    const char *values[] = {db->first, NULL};
    json_t *rows = json_array();
    struct buffer sql = {0};

    buffer_printf(&sql,
                  "SELECT u.api_key_id::text, %s, k.{user}::text, k.{id} IS NULL, u.allow, "
                  "u.inactive, u.expired, u.early, u.total FROM (SELECT api_key_id, " SUMS,
                  db->reads_names ? "k.{name}::text" : "NULL");
    int params = append_condition(db, &sql, &values[1]);
    buffer_printf(&sql,
                  " GROUP BY 1 ORDER BY total DESC, 1 LIMIT %u) AS u "
                  "LEFT JOIN {table} AS k ON k.{id} = u.api_key_id ORDER BY u.total DESC, 1",
                  db->question->rows_max);
    buffer_append(&sql, "", 1);
    PGresult *result = ask(db, sql.data, params, values);
    for (int i = 0; i < PQntuples(result); i++) {
        json_t *row =
            json_pack("{s:s, s:o, s:o, s:b}", "api_key_id", PQgetvalue(result, i, 0), "name",
                      text_or_null(result, i, 1), "user_id", text_or_null(result, i, 2), "deleted",
                      PQgetvalue(result, i, 3)[0] == 't');

        add_numbers(row, result, i, 4);
        json_array_append_new(rows, row);
    }
    PQclear(result);
    buffer_free(&sql);
    return rows;
}

/* The function has to be the table's owner's: another one could do with the session's rights what
 * it wants. */
json_t *usage_db_maintain(const struct request *request, const struct config *config)
{
    struct usage_db db = {.connection = connect_pinned(request, config), .config = config};
    struct buffer schema = {0}, table = {0}, function = {0}, sql = {0};
    json_t *done = json_array();

    schema_table_append(&schema, &table, config->postgres_usage_table);
    buffer_append(&schema, "", 1);
    buffer_append(&table, "", 1);
    usage_stem_append(&function, config, USAGE_MAINTAIN);
    buffer_append(&function, "", 1);
    const char *const values[] = {schema.data, table.data, function.data};
    PGresult *result =
        ask(&db,
            "SELECT pg_catalog.format('SELECT done::text FROM %I.%I() AS done', n.nspname, "
            "p.proname) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace "
            "JOIN pg_class AS c ON c.relnamespace = n.oid AND pg_has_role(p.proowner, c.relowner, "
            "'MEMBER') WHERE n.nspname = $1 AND c.relname = $2 AND p.proname = $3 "
            "AND p.pronargs = 0",
            3, values);
    if (PQntuples(result) == 0)
        die(STATUS_FAILED,
            "function %s.%s() of the owner of %s.%s is missing: make it with apikeyctl schema sql "
            "--part usage",
            schema.data, function.data, schema.data, table.data);
    buffer_text(&sql, PQgetvalue(result, 0, 0));
    buffer_append(&sql, "", 1);
    PQclear(result);
    result = PQexec(db.connection, sql.data);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        die(STATUS_FAILED, "the database: %s", PQresultErrorMessage(result));
    for (int i = 0; i < PQntuples(result); i++)
        json_array_append_new(done, json_string(PQgetvalue(result, i, 0)));
    PQclear(result);
    PQfinish(db.connection);
    buffer_free(&schema);
    buffer_free(&table);
    buffer_free(&function);
    buffer_free(&sql);
    return done;
}
