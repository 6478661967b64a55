/* SPDX-License-Identifier: MIT */
#include "keys_db.h"

#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>
#include <uuid/uuid.h>

#include <apikeyd/base/secret.h>
#include <apikeyd/base/sql_name.h>

#include "daemon_client.h"
#include "die.h"

struct keys_db {
    PGconn *connection;
    struct key_hasher *hasher;
    struct buffer table, column; /* quoted */
    struct buffer row;           /* SQL: a row as JSON */
    char value[KEY_LEN_MAX + 1];
};

static PGconn *connect_to(const char *dsn)
{
    const char *const names[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
    const char *const values[] = {dsn, "apikeyctl", "UTF8", NULL};

    /* Times are shown in UTC for columns of either type. */
    setenv("PGTZ", "UTC", 1);
    PGconn *connection = PQconnectdbParams(names, values, 1);
    if (PQstatus(connection) != CONNECTION_OK) {
        const char *message = PQerrorMessage(connection);

        die(EX_UNAVAILABLE,
            "the database: %.*s; name one with --dsn, $APIKEYCTL_DSN or postgres.dsn",
            (int)strcspn(message, "\n"), message);
    }
    return connection;
}

/* Names are qualified, because another role may have made objects of the same name. The key
 * column's value is used for its fingerprint only. */
static void make_row_sql(struct keys_db *db)
{
    static const char form[] = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";

    buffer_printf(&db->row,
                  "pg_catalog.json_build_object('api_key_id', api_key_id, 'name', key_name, "
                  "'user_id', user_id, 'active', is_active, 'last_used', "
                  "pg_catalog.to_char(last_used::pg_catalog.timestamptz, %s), 'created_at', "
                  "pg_catalog.to_char(created_at::pg_catalog.timestamptz, %s), 'updated_at', "
                  "pg_catalog.to_char(updated_at::pg_catalog.timestamptz, %s), 'fingerprint', "
                  "pg_catalog.concat('fp:', pg_catalog.left(pg_catalog.encode(pg_catalog.sha256("
                  "pg_catalog.convert_to(%.*s, 'UTF8')), 'hex'), 8)))::pg_catalog.text",
                  form, form, form, (int)db->column.len, db->column.data);
}

struct keys_db *keys_db_open(const struct request *request)
{
    struct keys_db *db = calloc(1, sizeof *db);
    struct config *config = daemon_config(request);
    const char *dsn = request->dsn ? request->dsn : getenv("APIKEYCTL_DSN");
    struct secret secret = {.len = 0};
    struct buffer error = {0};

    if (!db)
        die(EX_OSERR, "out of memory");
    if (!secret_read(config->postgres_key_transform_secret_file, &secret, &error))
        die(EX_CONFIG, "postgres.key_transform_secret_file \"%s\": %.*s",
            config->postgres_key_transform_secret_file, (int)error.len, error.data);
    db->hasher =
        key_hasher_new((enum key_transform)config->postgres_key_transform, secret_slice(&secret));
    explicit_bzero(&secret, sizeof secret);
    if (!db->hasher)
        die(EX_SOFTWARE, "libcrypto cannot be used");
    sql_table_append(&db->table, config->postgres_table);
    sql_column_append(&db->column, config->postgres_key_column);
    make_row_sql(db);
    db->connection = connect_to(dsn ? dsn : config->postgres_dsn);
    config_free(config);
    return db;
}

void keys_db_close(struct keys_db *db)
{
    PQfinish(db->connection);
    key_hasher_free(db->hasher);
    buffer_free(&db->table);
    buffer_free(&db->column);
    buffer_free(&db->row);
    explicit_bzero(db, sizeof *db);
    free(db);
}

const char *keys_db_column(struct keys_db *db, const char *key)
{
    struct slice value;
    struct digest digest;

    if (!key_hasher_digest(db->hasher, (struct slice){key, strlen(key)}, &value, &digest))
        die(EX_SOFTWARE, "libcrypto failed");
    memcpy(db->value, value.at, value.len);
    db->value[value.len] = '\0';
    return db->value;
}

static void refused(const PGresult *result)
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
    if (strcmp(state, "23505") == 0) /* unique_violation */
        die(STATUS_FAILED, "this key is in the table already");
    if (strncmp(state, "22", 2) == 0) /* data exceptions */
        die(EX_DATAERR, "the database: %s", message);
    die(STATUS_FAILED, "the database: %s", message);
}

/* Run a statement whose rows are JSON, and return the rows as an array. Takes *sql. */
static json_t *run(struct keys_db *db, struct buffer *sql, int params, const char *const *values)
{
    json_t *rows = json_array();

    buffer_append(sql, "", 1);
    PGresult *result = PQexecParams(db->connection, sql->data, params, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        refused(result);
    for (int i = 0; i < PQntuples(result); i++)
        json_array_append_new(rows, json_loads(PQgetvalue(result, i, 0), 0, NULL));
    PQclear(result);
    buffer_free(sql);
    return rows;
}

static json_t *only(json_t *rows)
{
    json_t *row = json_incref(json_array_get(rows, 0));

    json_decref(rows);
    return row;
}

json_t *keys_db_insert(struct keys_db *db, const char *user, const char *name, const char *column,
                       bool active)
{
    char id[UUID_STR_LEN];
    const char *const values[] = {id, name, column, user, active ? "t" : "f"};
    struct buffer sql = {0};
    uuid_t made;

    uuid_generate_random(made);
    uuid_unparse_lower(made, id);
    buffer_printf(&sql,
                  "INSERT INTO %.*s (api_key_id, key_name, %.*s, user_id, is_active) "
                  "VALUES ($1, $2, $3, $4, $5) RETURNING %.*s",
                  (int)db->table.len, db->table.data, (int)db->column.len, db->column.data,
                  (int)db->row.len, db->row.data);
    return only(run(db, &sql, 5, values));
}

json_t *keys_db_list(struct keys_db *db, const char *user)
{
    struct buffer sql = {0};

    buffer_printf(&sql,
                  "SELECT %.*s FROM %.*s WHERE $1::pg_catalog.uuid IS NULL "
                  "OR user_id OPERATOR(pg_catalog.=) $1 "
                  "ORDER BY created_at DESC, api_key_id",
                  (int)db->row.len, db->row.data, (int)db->table.len, db->table.data);
    return run(db, &sql, 1, &user);
}

/* The row with ID $1, and of user $2 unless that is NULL. */
static const char which[] = " WHERE api_key_id OPERATOR(pg_catalog.=) $1 "
                            "AND ($2::pg_catalog.uuid IS NULL "
                            "OR user_id OPERATOR(pg_catalog.=) $2)";

json_t *keys_db_find(struct keys_db *db, const char *id, const char *user)
{
    const char *const values[] = {id, user};
    struct buffer sql = {0};

    buffer_printf(&sql, "SELECT %.*s FROM %.*s%s", (int)db->row.len, db->row.data,
                  (int)db->table.len, db->table.data, which);
    return only(run(db, &sql, 2, values));
}

/* `verb` and `set` are the text before and after the table's name. */
static json_t *change(struct keys_db *db, const char *verb, const char *set, int params,
                      const char *const *values)
{
    struct buffer sql = {0};

    buffer_printf(&sql, "%s %.*s%s%s RETURNING %.*s", verb, (int)db->table.len, db->table.data, set,
                  which, (int)db->row.len, db->row.data);
    return only(run(db, &sql, params, values));
}

json_t *keys_db_rename(struct keys_db *db, const char *id, const char *user, const char *name)
{
    const char *const values[] = {id, user, name};

    return change(db, "UPDATE", " SET key_name = $3, updated_at = pg_catalog.now()", 3, values);
}

json_t *keys_db_set_active(struct keys_db *db, const char *id, const char *user, bool active)
{
    const char *const values[] = {id, user, active ? "t" : "f"};

    return change(db, "UPDATE", " SET is_active = $3, updated_at = pg_catalog.now()", 3, values);
}

json_t *keys_db_delete(struct keys_db *db, const char *id, const char *user)
{
    const char *const values[] = {id, user};

    return change(db, "DELETE FROM", "", 2, values);
}
