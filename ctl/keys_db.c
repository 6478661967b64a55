/* SPDX-License-Identifier: MIT */
#include "keys_db.h"

#include <stdlib.h>
#include <string.h>

#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/sql_template.h>

#include "daemon_client.h"
#include "database.h"
#include "die.h"

struct keys_db {
    PGconn *connection;
    const struct config *config;
    struct key_hasher *hasher;
    char value[KEY_LEN_MAX + 1];
};

/* A time in UTC, from a column of either type. */
#define TIME(column)                                                                               \
    "pg_catalog.to_char(pg_catalog.timezone('UTC', " column                                        \
    "::pg_catalog.timestamptz), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

/* Names are qualified, because another role may have made objects of the same name. The key
 * column's value is used for its fingerprint only. */
void keys_db_append_row(struct buffer *sql, const struct config *config)
{
    const char *const parts[] = {
        "pg_catalog.json_build_object('api_key_id', {id}::pg_catalog.text, 'name', ",
        config->postgres_name_column[0] ? "{name}" : "NULL",
        ", 'user_id', {user}::pg_catalog.text, 'active', ",
        config->postgres_active_column[0] ? "{active}" : "true",
        (", 'last_used', " TIME("{last_used}") ", 'created_at', "),
        config->postgres_created_column[0] ? TIME("{created}") : "NULL",
        ", 'not_before', ",
        config->postgres_not_before_column[0] ? TIME("{not_before}") : "NULL",
        ", 'expires_at', ",
        config->postgres_expires_column[0] ? TIME("{expires}") : "NULL",
        ", 'updated_at', ",
        config->postgres_updated_column[0] ? TIME("{updated}") : "NULL",
        ", 'successor_of', ",
        config->postgres_successor_of_column[0] ? "{successor_of}::pg_catalog.text" : "NULL",
        (", 'fingerprint', pg_catalog.concat('fp:', pg_catalog.left(pg_catalog.encode("
         "pg_catalog.sha256(pg_catalog.convert_to("),
        config->postgres_key_column_fallback[0]
            ? "CASE WHEN {key}::pg_catalog.text OPERATOR(pg_catalog.<>) '' "
              "THEN {key}::pg_catalog.text ELSE {fallback}::pg_catalog.text END" /* as a lookup */
            : "{key}::pg_catalog.text",
        ", 'UTF8')), 'hex'), 8)))::pg_catalog.text",
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sql_template(sql, config, parts[i]);
}

struct keys_db *keys_db_open(const struct request *request, const struct config *config)
{
    struct keys_db *db = calloc(1, sizeof *db);
    struct buffer why = {0};

    if (!db)
        die(EX_OSERR, "out of memory");
    db->hasher = config_key_hasher(config, &why, NULL);
    if (!db->hasher)
        die(EX_CONFIG, "postgres.key_transform_secret_file \"%s\": %.*s",
            config->postgres_key_transform_secret_file, (int)why.len, why.data);
    db->config = config;
    /* The session's time zone is that of columns without one. */
    setenv("PGTZ", config->postgres_timestamp_zone, 1);
    db->connection = database_connect(request, config);
    return db;
}

void keys_db_close(struct keys_db *db)
{
    PQfinish(db->connection);
    key_hasher_free(db->hasher);
    explicit_bzero(db, sizeof *db);
    free(db);
}

const struct config *keys_db_config(const struct keys_db *db)
{
    return db->config;
}

void keys_db_names(const struct keys_db *db, struct slice key, struct key_names *ret)
{
    key_hasher_names(db->hasher, key, ret);
}

const char *keys_db_column(struct keys_db *db, const char *key)
{
    struct slice value = {key, strlen(key)};
    struct key_names names;

    key_hasher_names(db->hasher, value, &names);
    if (names.hashes > 0)
        value = (struct slice){names.hash[0], KEY_HASH_LEN};
    memcpy(db->value, value.at, value.len);
    db->value[value.len] = '\0';
    return db->value;
}

/* A column that no option names is the owner's to fill in, as that of the keys themselves is where
 * the table holds hashes. */
static void refused_null(const PGresult *result, const char *message)
{
    const char *schema = PQresultErrorField(result, PG_DIAG_SCHEMA_NAME);
    const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
    const char *column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);

    if (!schema || !table || !column) /* a domain's constraint */
        schema = table = column = "…";
    die(STATUS_FAILED,
        "the database: %s. apikeyctl sets only the columns that options name, and the ID by --id. "
        "Give the column a default, or ALTER TABLE %s.%s ALTER COLUMN %s DROP NOT NULL; or, if it "
        "holds the keys themselves, name it in postgres.key_column_fallback",
        message, schema, table, column);
}

void keys_db_refused(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!state || !message)
        die(EX_UNAVAILABLE, "the database: %s", PQresultErrorMessage(result));
    if (strcmp(state, "42501") == 0) /* insufficient_privilege */
        die(EX_NOPERM,
            "the database: %s. The daemon's role may only read keys; name one that may change them "
            "with --dsn or $APIKEYCTL_DSN",
            message);
    if (strcmp(state, "23503") == 0) /* foreign_key_violation */
        die(STATUS_FAILED, "there is no user with this ID");
    if (strcmp(state, "23502") == 0) /* not_null_violation */
        refused_null(result, message);
    if (strcmp(state, "42703") == 0) /* undefined_column */
        die(EX_CONFIG,
            "the database: %s. The section [postgres] names the table's columns; apikeyctl schema "
            "sql --part rotation adds that of postgres.successor_of_column",
            message);
    if (strcmp(state, "55P03") == 0) /* lock_not_available */
        die(STATUS_FAILED,
            "the database: %s: another session is changing this key or its table, and nothing was "
            "changed here; repeat the command when that session's transaction has ended",
            message);
    if (strcmp(state, "23505") == 0) /* unique_violation */
        die(STATUS_FAILED, "this key, or this ID, is in the table already");
    if (strncmp(state, "22", 2) == 0) /* data exceptions */
        die(EX_DATAERR, "the database: %s", message);
    die(STATUS_FAILED, "the database: %s", message);
}

PGresult *keys_db_execute(struct keys_db *db, struct buffer *sql, int params,
                          const char *const *values)
{
    buffer_append(sql, "", 1);
    PGresult *result = PQexecParams(db->connection, sql->data, params, NULL, values, NULL, NULL, 0);
    buffer_free(sql);
    return result;
}

PGresult *keys_db_query(struct keys_db *db, const char *text, int params, const char *const *values)
{
    struct buffer sql = {0};

    sql_template(&sql, db->config, text);
    return keys_db_execute(db, &sql, params, values);
}

json_t *keys_db_take_rows(PGresult *result)
{
    json_t *rows = json_array();

    for (int i = 0; i < PQntuples(result); i++)
        json_array_append_new(rows, json_loads(PQgetvalue(result, i, 0), 0, NULL));
    PQclear(result);
    return rows;
}

/* Run a statement that ends in a row as JSON: `before`, the row, `after`. Returns the rows as an
 * array. */
static json_t *run(struct keys_db *db, const char *before, const char *after, int params,
                   const char *const *values)
{
    struct buffer sql = {0};

    sql_template(&sql, db->config, before);
    keys_db_append_row(&sql, db->config);
    sql_template(&sql, db->config, after);
    PGresult *result = keys_db_execute(db, &sql, params, values);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        keys_db_refused(result);
    return keys_db_take_rows(result);
}

static json_t *only(json_t *rows)
{
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    return row;
}

bool keys_db_fallback_needs_key(struct keys_db *db)
{
    const char *column = db->config->postgres_key_column_fallback;
    struct buffer sql = {0};

    if (!column[0])
        return false;
    sql_template(&sql, db->config,
                 "SELECT FROM pg_catalog.pg_attribute AS a "
                 "WHERE a.attrelid OPERATOR(pg_catalog.=) {table_text}::pg_catalog.regclass "
                 "AND a.attname OPERATOR(pg_catalog.=) $1 AND a.attnotnull AND NOT a.atthasdef");
    buffer_append(&sql, "", 1);
    PGresult *result = PQexecParams(db->connection, sql.data, 1, NULL, &column, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        keys_db_refused(result);
    bool needs = PQntuples(result) > 0;
    PQclear(result);
    buffer_free(&sql);
    return needs;
}

json_t *keys_db_insert(struct keys_db *db, const struct new_key *key)
{
    const struct {
        const char *option, *name,
            *value; /* an optional column: it has a value, or there is none */
    } columns[] = {
        {"{key}", "x", key->column},
        {"{fallback}", db->config->postgres_key_column_fallback, key->fallback},
        {"{user}", "x", key->user},
        {"{id}", "x", key->id},
        {"{name}", db->config->postgres_name_column, key->name},
        {"{active}", db->config->postgres_active_column, key->active ? "t" : "f"},
    };
    const char *values[sizeof columns / sizeof columns[0]];
    struct buffer names = {0}, places = {0};
    int len = 0;

    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        if (!columns[i].name[0] || !columns[i].value)
            continue;
        values[len++] = columns[i].value;
        buffer_printf(&names, "%s%s", len > 1 ? ", " : "", columns[i].option);
        buffer_printf(&places, "%s$%d", len > 1 ? ", " : "", len);
    }
    buffer_printf(&names, ") VALUES (%.*s) RETURNING ", (int)places.len, places.data);
    buffer_free(&places);
    buffer_printf(&places, "INSERT INTO {table} (%.*s", (int)names.len, names.data);
    buffer_append(&places, "", 1);
    json_t *row = only(run(db, places.data, "", len, values));
    buffer_free(&names);
    buffer_free(&places);
    return row;
}

/* A parameter has the type of the column that it is first compared with. */
json_t *keys_db_list(struct keys_db *db, const char *user)
{
    const char *order = db->config->postgres_created_column[0]
                            ? " FROM {table} WHERE {user} OPERATOR(pg_catalog.=) $1 OR $1 IS NULL "
                              "ORDER BY {created} DESC, {id}"
                            : " FROM {table} WHERE {user} OPERATOR(pg_catalog.=) $1 OR $1 IS NULL "
                              "ORDER BY {id}";

    return run(db, "SELECT ", order, 1, &user);
}

json_t *keys_db_rows(struct keys_db *db, const char *condition, int params,
                     const char *const *values)
{
    struct buffer text = {0};

    buffer_printf(&text,
                  " FROM {table} WHERE ({user} OPERATOR(pg_catalog.=) $1 OR $1 IS NULL) AND %s",
                  condition);
    buffer_append(&text, "", 1);
    json_t *rows = run(db, "SELECT ", text.data, params, values);
    buffer_free(&text);
    return rows;
}

/* Of one key: it may have several successors if another program has made them. */
json_t *keys_db_rotation(struct keys_db *db, const char *id, const char *user)
{
    static const char condition[] =
        "({id} OPERATOR(pg_catalog.=) $2 OR {successor_of} OPERATOR(pg_catalog.=) $2 OR "
        "{id} OPERATOR(pg_catalog.=) (SELECT p.{successor_of} FROM {table} AS p "
        "WHERE p.{id} OPERATOR(pg_catalog.=) $2 LIMIT 1)) "
        "ORDER BY coalesce({successor_of} OPERATOR(pg_catalog.=) $2, false), "
        "{id} OPERATOR(pg_catalog.=) $2, {id}";
    const char *const values[] = {user, id};

    if (!db->config->postgres_successor_of_column[0])
        return json_array();
    return keys_db_rows(db, condition, 2, values);
}

/* In quotes (PostgreSQL manual, 8.15.6). */
void keys_db_array_add(struct buffer *array, const char *id)
{
    buffer_text(array, array->len > 0 ? ",\"" : "{\"");
    for (const char *at = id; *at; at++) {
        if (*at == '"' || *at == '\\')
            buffer_text(array, "\\");
        buffer_append(array, at, 1);
    }
    buffer_text(array, "\"");
}

void keys_db_array_end(struct buffer *array)
{
    buffer_text(array, array->len > 0 ? "}" : "{}");
    buffer_append(array, "", 1);
}

json_t *keys_db_successors(struct keys_db *db, const json_t *rows)
{
    json_t *successors = json_object();
    struct buffer ids = {0};
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        keys_db_array_add(&ids, json_string_value(json_object_get(row, "api_key_id")));
    }
    keys_db_array_end(&ids);
    json_t *found = run(db, "SELECT ",
                        " FROM {table} WHERE {successor_of} OPERATOR(pg_catalog.=) ANY ($1) "
                        "ORDER BY {id}",
                        1, (const char *const[]){ids.data});
    json_array_foreach(found, i, row)
    {
        json_object_set(successors, json_string_value(json_object_get(row, "successor_of")), row);
    }
    json_decref(found);
    buffer_free(&ids);
    return successors;
}

/* The row with ID $1, and of user $2 unless that is NULL. */
#define WHICH                                                                                      \
    " WHERE {id} OPERATOR(pg_catalog.=) $1 "                                                       \
    "AND ({user} OPERATOR(pg_catalog.=) $2 OR $2 IS NULL)"

json_t *keys_db_find(struct keys_db *db, const char *id, const char *user)
{
    const char *const values[] = {id, user};

    return only(run(db, "SELECT ", " FROM {table}" WHICH, 2, values));
}

static json_t *set(struct keys_db *db, const char *id, const char *user, const char *column,
                   const char *value)
{
    const char *const values[] = {id, user, value};
    const char *touch =
        db->config->postgres_updated_column[0] ? ", {updated} = pg_catalog.now()" : "";
    struct buffer text = {0};

    buffer_printf(&text, "UPDATE {table} SET %s = $3%s" WHICH " RETURNING ", column, touch);
    buffer_append(&text, "", 1);
    json_t *row = only(run(db, text.data, "", 3, values));
    buffer_free(&text);
    return row;
}

json_t *keys_db_rename(struct keys_db *db, const char *id, const char *user, const char *name)
{
    if (!db->config->postgres_name_column[0])
        die(EX_CONFIG, "postgres.name_column is empty: keys have no names here");
    return set(db, id, user, "{name}", name);
}

json_t *keys_db_set_active(struct keys_db *db, const char *id, const char *user, bool active)
{
    if (!db->config->postgres_active_column[0])
        die(EX_CONFIG, "postgres.active_column is empty: every key is active, until it is deleted");
    return set(db, id, user, "{active}", active ? "t" : "f");
}

json_t *keys_db_delete(struct keys_db *db, const char *id, const char *user)
{
    const char *const values[] = {id, user};

    return only(run(db, "DELETE FROM {table}" WHICH " RETURNING ", "", 2, values));
}
