/* SPDX-License-Identifier: MIT */
#include "schema.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <apikeyd/config/option.h>
#include <apikeyd/schema/schema_check.h>
#include <apikeyd/schema/schema_inspection.h>
#include <apikeyd/schema/schema_sql.h>

#include "daemon_client.h"
#include "database.h"
#include "die.h"
#include "output.h"

static const char default_role[] = "apikeyd";

/* The parts of the SQL, and what undoes each. */
static const struct part {
    const char *section, *undo;
} parts[] = {
    {SCHEMA_FUNCTIONS, SCHEMA_UNDO_FUNCTIONS},
    {SCHEMA_ROLE, SCHEMA_UNDO_ROLE},
    {SCHEMA_TRIGGERS, SCHEMA_UNDO_TRIGGERS},
    {SCHEMA_INDEX, SCHEMA_UNDO_INDEX},
};

enum { PARTS = sizeof parts / sizeof parts[0] };

static bool is_wanted(const struct request *request, const struct part *part)
{
    if (request->part)
        return strcmp(request->part, part->section) == 0;
    return !request->no_role || strcmp(part->section, SCHEMA_ROLE) != 0;
}

static void check_choice(const struct request *request)
{
    bool known = !request->part;

    for (int i = 0; i < PARTS; i++)
        known = known || strcmp(request->part, parts[i].section) == 0;
    if (!known)
        die(EX_USAGE, "--part \"%s\": functions, role, triggers or index is expected",
            request->part);
    if (request->role && request->no_role)
        die(EX_USAGE, "--role and --no-role: only one of them is expected");
    if (request->role && (!request->role[0] || strlen(request->role) > OPTION_NAME_MAX))
        die(EX_USAGE, "--role \"%s\": a name of 1 to %d bytes is expected", request->role,
            OPTION_NAME_MAX);
}

int run_schema_sql(const struct request *request)
{
    struct config *config = daemon_config(request);
    const char *role = request->role ? request->role : default_role;
    struct buffer sql = {0};

    check_choice(request);
    for (int i = 0; i < PARTS; i++) {
        const struct part *part = &parts[request->undo ? PARTS - 1 - i : i];

        if (is_wanted(request, part))
            schema_sql_append(&sql, config, role, request->undo ? part->undo : part->section);
    }
    fwrite(sql.data, 1, sql.len, stdout);
    buffer_free(&sql);
    config_free(config);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EX_IOERR;
}

static PGresult *ask(PGconn *connection, const char *sql, int params, const char *const *values)
{
    static const Oid text_type = 25;
    Oid types[SCHEMA_INSPECTION_PARAMS];

    for (int i = 0; i < params; i++)
        types[i] = text_type;
    PGresult *result = PQexecParams(connection, sql, params, types, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        die(STATUS_FAILED, "the database: %s", PQresultErrorMessage(result));
    return result;
}

static void add_row(json_t *rows, const char *state, const char *what, const char *action)
{
    json_array_append_new(rows,
                          json_pack("{s:s, s:s, s:s}", "state", state, "what", what, "do", action));
}

/* What the daemon says about the triggers. The sentence ends with what to do. */
static bool check_triggers(PGconn *connection, const struct config *config, json_t *rows)
{
    const char *values[SCHEMA_INSPECTION_PARAMS];
    struct schema_inspection inspection;

    schema_inspection_init(&inspection, config);
    for (int i = 0; i < SCHEMA_INSPECTION_PARAMS; i++)
        values[i] = inspection.param[i].data;
    PGresult *result = ask(connection, inspection.sql, SCHEMA_INSPECTION_PARAMS, values);
    char *problem = PQgetvalue(result, 0, SCHEMA_INSPECTION_PROBLEM);
    bool fine = !problem[0];
    char *action = strstr(problem, "; ");
    if (action)
        *action = '\0';
    if (fine)
        add_row(rows, "ok", "the triggers announce every change of a key", "");
    else
        add_row(rows, "missing", problem, action ? action + 2 : "");
    PQclear(result);
    schema_inspection_done(&inspection);
    return fine;
}

static bool check_rest(PGconn *connection, const struct config *config, const char *role,
                       json_t *rows)
{
    const char *values[SCHEMA_CHECK_PARAMS];
    struct schema_check check;
    bool fine = true;

    schema_check_init(&check, config, role);
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        values[i] = check.param[i].data;
    PGresult *result = ask(connection, check.sql, SCHEMA_CHECK_PARAMS, values);
    for (int i = 0; i < PQntuples(result); i++) {
        const char *state = PQgetvalue(result, i, SCHEMA_CHECK_STATE);

        fine = fine && (strcmp(state, "ok") == 0 || strcmp(state, "advice") == 0);
        add_row(rows, state, PQgetvalue(result, i, SCHEMA_CHECK_WHAT),
                PQgetvalue(result, i, SCHEMA_CHECK_ACTION));
    }
    PQclear(result);
    schema_check_done(&check);
    return fine;
}

int run_schema_check(const struct request *request)
{
    static const struct column columns[] = {{"state", "STATE"}, {"what", "WHAT"}, {"do", "DO"}};
    struct config *config = daemon_config(request);
    json_t *rows = json_array();

    check_choice(request);
    PGconn *connection = database_connect(request, config);
    bool fine = check_rest(connection, config, request->role ? request->role : "", rows);
    fine = check_triggers(connection, config, rows) && fine;
    output_rows(request->json, rows, columns, sizeof columns / sizeof columns[0]);
    PQfinish(connection);
    config_free(config);
    return fine ? EXIT_SUCCESS : STATUS_FAILED;
}
