/* SPDX-License-Identifier: MIT */
#include "rotate.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon_client.h"
#include "die.h"
#include "duration.h"
#include "keys.h"
#include "output.h"
#include "rotate_query.h"

static int64_t lifetime_of(const struct request *request)
{
    if (!request->lifetime)
        return LIFETIME_OF_OLD;
    if (strcmp(request->lifetime, "unlimited") == 0)
        return LIFETIME_UNLIMITED;
    if (strspn(request->lifetime, "0123456789") == 0)
        die(EX_USAGE, "--lifetime \"%s\": a time, as in 90d, or \"unlimited\" is expected",
            request->lifetime);
    return duration_seconds("--lifetime", request->lifetime, 1);
}

static void check_columns(const struct request *request, const struct config *config)
{
    if (!config->postgres_expires_column[0])
        die(EX_CONFIG,
            "keys rotate needs postgres.expires_column, which is empty: the old key could "
            "not end (see \"Rotating a key\" in the operations guide)");
    if (!config->postgres_successor_of_column[0])
        die(EX_CONFIG,
            "keys rotate needs postgres.successor_of_column, which is empty: the two keys "
            "could not be linked (see \"Rotating a key\" in the operations guide)");
    if (request->name && !config->postgres_name_column[0])
        die(EX_USAGE, "--name: postgres.name_column is empty: keys have no names here");
    if (request->name && !request->name[0])
        die(EX_USAGE, "--name \"\": a name is expected");
}

/* The end of the session ends the transaction. */
static PGresult *expect(PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

    if (status == PGRES_FATAL_ERROR && !state)
        die(EX_UNAVAILABLE,
            "the database: the connection was lost before COMMIT, so nothing was changed: %.*s",
            (int)strcspn(PQresultErrorMessage(result), "\n"), PQresultErrorMessage(result));
    if (state && strcmp(state, "23505") == 0) /* unique_violation */
        die(STATUS_FAILED,
            "nothing was changed: a row of the table has the same values as the successor where "
            "they have to be unique (constraint \"%s\"); give the successor another name or ID "
            "with "
            "--name or --id, if the constraint is about these",
            constraint ? constraint : "");
    if (state && strcmp(state, "23502") == 0) /* not_null_violation */
        die(STATUS_FAILED,
            "nothing was changed: %s, and the successor does not get this from the old key; give "
            "the column a default, or the ID by --id",
            PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        keys_db_refused(result);
    return result;
}

static bool is_true(const PGresult *result, int column)
{
    return PQgetvalue(result, 0, column)[0] == 't';
}

static void expect_one(const struct rotation *rotation, const PGresult *old)
{
    if (PQntuples(old) == 0)
        die(STATUS_FAILED, "there is no key %s%s%s", rotation->id,
            rotation->user ? " of user " : "", rotation->user ? rotation->user : "");
    if (PQntuples(old) > 1)
        die(STATUS_FAILED, "%d rows have the ID %s, which has to be unique; nothing was changed",
            PQntuples(old), rotation->id);
}

/* A key that may not pass has no overlap to offer. */
static void judge_old(const struct rotation *rotation, const PGresult *old)
{
    static const char instead[] =
        "nothing was changed, since nobody can use it meanwhile; keys create makes a new key";

    if (!is_true(old, OLD_ACTIVE))
        die(STATUS_FAILED, "key %s is inactive: %s", rotation->id, instead);
    if (is_true(old, OLD_ENDED))
        die(STATUS_FAILED, "key %s has ended: %s", rotation->id, instead);
    if (is_true(old, OLD_EARLY))
        die(STATUS_FAILED, "key %s has not begun: %s", rotation->id, instead);
    if (is_true(old, OLD_IN_CHILD))
        die(STATUS_FAILED,
            "key %s is in a child of the table, which may have other columns; nothing was changed. "
            "Name the child in postgres.table",
            rotation->id);
}

/* Returns the result that rotation->end points into. The successor is told first: whoever repeats a
 * rotation whose new key was lost has an old key that has perhaps ended. */
static PGresult *take_old(struct keys_db *db, struct rotation *rotation)
{
    PGresult *old = expect(rotate_query_lock(db, rotation));

    expect_one(rotation, old);
    PGresult *successors = expect(rotate_query_successors(db, rotation));
    if (PQntuples(successors) > 0)
        die(STATUS_FAILED,
            "key %s has a successor already: %s; nothing was changed. Rotate the successor; if "
            "nobody has its key, with --overlap 0s. If the successor may not pass any more, keys "
            "delete it first, or activate it",
            rotation->id, PQgetvalue(successors, 0, 0));
    PQclear(successors);
    judge_old(rotation, old);
    rotation->end = PQgetvalue(old, 0, OLD_END);
    return old;
}

/* Each column of --copy stands in the table, and is not filled in by somebody else. */
static void check_copy(const char *copy, const PGresult *columns)
{
    int asked_for = 1, copied = 0;

    if (!copy)
        return;
    for (const char *at = copy; (at = strchr(at, ',')); at++)
        asked_for++;
    for (int i = 0; i < PQntuples(columns); i++)
        copied += PQgetvalue(columns, i, COLUMN_ASKED_FOR)[0] == 't' &&
                  strcmp(PQgetvalue(columns, i, COLUMN_FATE), "copied") == 0;
    if (copied != asked_for)
        die(EX_USAGE,
            "--copy \"%s\": columns of the table are expected, with commas and nothing else in "
            "between, that neither PostgreSQL nor apikeyctl fills in; nothing was changed",
            copy);
}

static void say_left_out(const PGresult *columns)
{
    for (int i = 0; i < PQntuples(columns); i++) {
        const char *name = PQgetvalue(columns, i, COLUMN_NAME);
        const char *fate = PQgetvalue(columns, i, COLUMN_FATE);

        if (strcmp(fate, "unique") == 0)
            fprintf(stderr, "Column %s is not copied, because its values have to be unique.\n",
                    name);
        if (strcmp(fate, "key") == 0)
            fprintf(stderr,
                    "Column %s is not copied, because it holds the old key or may hold its hash; "
                    "--copy copies it.\n",
                    name);
    }
}

static void say_referrers(struct keys_db *db)
{
    PGresult *tables = expect(rotate_query_referrers(db));

    for (int i = 0; i < PQntuples(tables); i++)
        fprintf(stderr, "Rows of table %s that refer to the old key are not copied.\n",
                PQgetvalue(tables, i, 0));
    PQclear(tables);
}

/* The one row that was changed, and that is as it was to be. */
static json_t *only(PGresult *result, const char *what, const char *otherwise)
{
    if (PQntuples(expect(result)) != 1)
        die(STATUS_FAILED,
            "a trigger or a rule of the table keeps apikeyctl from %s; nothing was "
            "changed",
            what);
    if (!is_true(result, ROW_KEPT))
        die(STATUS_FAILED, "%s; nothing was changed", otherwise);
    json_t *rows = keys_db_take_rows(result);
    json_t *row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return row;
}

/* Returns the row of the successor, with the end of the old key. */
static json_t *replace(struct keys_db *db, const struct rotation *rotation)
{
    PGresult *columns = expect(rotate_query_columns(db, rotation));
    check_copy(rotation->copy, columns);
    json_t *row = only(rotate_query_insert(db, rotation, columns), "inserting the successor",
                       "a trigger of the table changes the successor's key, or its link with the "
                       "old key, so the new key would not pass, or not be found");
    json_t *old = only(rotate_query_end(db, rotation), "ending the old key",
                       "the old key would not end when it has to: a trigger of the table changes "
                       "postgres.expires_column, or the column's type has no time of the day");

    say_left_out(columns);
    say_referrers(db);
    json_object_set(row, "predecessor_expires_at", json_object_get(old, "expires_at"));
    json_decref(old);
    PQclear(columns);
    return row;
}

static const char *text_of(const json_t *row, const char *member)
{
    const char *text = json_string_value(json_object_get(row, member));

    return text ? text : "never";
}

/* Whoever cannot read the new key here has an old one that ends. */
static void show(const struct request *request, json_t *row)
{
    json_t *shown = json_deep_copy(row);

    signal(SIGPIPE, SIG_IGN);
    output_object(request->json, shown);
    if (fflush(stdout) != 0 || ferror(stdout))
        die(EX_IOERR,
            "the new key cannot be written to stdout, and is lost; the old key %s ends at %s. For "
            "another new key: apikeyctl keys rotate %s --overlap 0s",
            request->argv[0], text_of(row, "predecessor_expires_at"), text_of(row, "api_key_id"));
}

/* An answer that does not come says nothing: the server may have committed before. So the key is
 * shown in that case too. */
static void commit(struct keys_db *db, const struct request *request, json_t *row)
{
    PGresult *result = keys_db_query(db, "COMMIT", 0, NULL);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool cancelled = state && strcmp(state, "57014") == 0; /* a trigger at COMMIT took too long */
    bool lost = !state || strncmp(state, "57", 2) == 0 || strncmp(state, "08", 2) == 0;

    if (PQresultStatus(result) != PGRES_COMMAND_OK && lost && !cancelled) {
        show(request, row);
        die(EX_UNAVAILABLE,
            "the connection was lost at COMMIT: whether key %s was rotated is not known. If "
            "apikeyctl "
            "keys show %s finds the successor, the key above is valid; else nothing was changed, "
            "and "
            "the key above is not: repeat the command",
            request->argv[0], text_of(row, "api_key_id"));
    }
    if (strcmp(PQcmdStatus(expect(result)), "COMMIT") != 0)
        die(STATUS_FAILED, "the database rolled the transaction back; nothing was changed");
    PQclear(result);
}

static void say_ends(const struct request *request, const json_t *row)
{
    if (!request->lifetime && json_is_string(json_object_get(row, "expires_at")))
        fprintf(stderr,
                "The successor ends at %s, when the old key would have ended; --lifetime sets "
                "another end.\n",
                text_of(row, "expires_at"));
    if (!request->json)
        fprintf(stderr, "Keep key_id now: it is not shown again. The old key ends at %s.\n",
                text_of(row, "predecessor_expires_at"));
}

int run_keys_rotate(const struct request *request)
{
    char key[KEY_MADE_SIZE], uuid[KEYS_ID_SIZE];

    if (!request->overlap)
        die(EX_USAGE, "keys rotate needs --overlap, as in 7d; 0s ends the old key at once");
    struct rotation rotation = {
        .id = request->argv[0],
        .user = request->user,
        .name = request->name,
        .copy = request->copy,
        .overlap_s = duration_seconds("--overlap", request->overlap, 0),
        .lifetime_s = lifetime_of(request),
    };
    struct config *config = daemon_config(request);
    check_columns(request, config);
    struct keys_db *db = keys_connect(request, config);
    keys_make(config, key);
    rotation.new_id = keys_new_id(request, config, uuid);
    rotation.column = keys_db_column(db, key);
    rotation.fallback = keys_db_fallback_needs_key(db) ? key : NULL;
    PQclear(expect(rotate_query_begin(db)));
    PGresult *old = take_old(db, &rotation);
    json_t *row = replace(db, &rotation);
    PQclear(old);
    json_object_set_new(row, "key_id", json_string(key));
    commit(db, request, row);
    show(request, row);
    say_ends(request, row);
    json_decref(row);
    explicit_bzero(key, sizeof key);
    keys_db_close(db);
    config_free(config);
    return EXIT_SUCCESS;
}
