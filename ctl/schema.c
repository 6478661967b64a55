/* SPDX-License-Identifier: MIT */
#include "schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <apikeyd/config/option.h>
#include <apikeyd/schema/schema_check.h>
#include <apikeyd/schema/schema_inspection.h>
#include <apikeyd/schema/schema_sql.h>
#include <apikeyd/schema/usage_check.h>

#include "daemon_client.h"
#include "database.h"
#include "die.h"
#include "output.h"
#include "stored_keys.h"

static const char default_role[] = "apikeyd";

/* The parts of the SQL, and what undoes each. A part that changes the owner's columns is printed
 * only if it is asked for. */
static const struct part {
    const char *name;
    const char *section, *rights, *undo;
    bool asked_for;
} parts[] = {
    {"functions", SCHEMA_FUNCTIONS, NULL, SCHEMA_UNDO_FUNCTIONS, false},
    {"role", NULL, SCHEMA_ROLE, SCHEMA_UNDO_ROLE, false},
    {"usage", SCHEMA_USAGE_TABLES, SCHEMA_USAGE_RIGHTS, SCHEMA_UNDO_USAGE, false},
    {"triggers", SCHEMA_TRIGGERS, NULL, SCHEMA_UNDO_TRIGGERS, false},
    {"index", SCHEMA_INDEX, NULL, SCHEMA_UNDO_INDEX, false},
    {"rotation", SCHEMA_ROTATION, NULL, SCHEMA_UNDO_ROTATION, true},
};

enum { PARTS = sizeof parts / sizeof parts[0] };

/* Of SCHEMA_COLUMNS_MAX columns at most. */
typedef void column_list(const struct config *config, const char **ret_columns);

/* Tables of counts are for who counts. What undoes them is printed in any case: who has counted may
 * have stopped. */
static bool is_wanted(const struct request *request, const struct config *config,
                      const struct part *part)
{
    if (request->part)
        return strcmp(request->part, part->name) == 0;
    if (strcmp(part->name, "role") == 0)
        return !request->no_role;
    if (strcmp(part->name, "usage") == 0)
        return request->undo || config->usage_counts != USAGE_COUNTS_OFF;
    return !part->asked_for;
}

static void append_part(struct buffer *sql, const struct request *request,
                        const struct config *config, const char *role, const struct part *part)
{
    bool with_rights = !request->no_role || !part->section;

    if (request->undo) {
        schema_sql_append(sql, config, role, part->undo);
        return;
    }
    if (part->section)
        schema_sql_append(sql, config, role, part->section);
    if (part->rights && with_rights)
        schema_sql_append(sql, config, role, part->rights);
}

static void check_choice(const struct request *request)
{
    bool known = !request->part;

    for (int i = 0; i < PARTS; i++)
        known = known || strcmp(request->part, parts[i].name) == 0;
    if (!known)
        die(EX_USAGE,
            "--part \"%s\": functions, role, usage, triggers, index or rotation is "
            "expected",
            request->part);
    if (request->role && request->no_role)
        die(EX_USAGE, "--role and --no-role: only one of them is expected");
    if (request->role && (!request->role[0] || strlen(request->role) > OPTION_NAME_MAX))
        die(EX_USAGE, "--role \"%s\": a name of 1 to %d bytes is expected", request->role,
            OPTION_NAME_MAX);
}

/* In the SQL a name stands between dollar quotes and in comments. The configuration has no control
 * characters. */
static void check_name(const char *what, const char *name)
{
    static const char *const marks[] = {"$apikeyd$", "$body$"};

    for (const char *at = name; *at; at++) {
        if ((unsigned char)*at < ' ')
            die(EX_USAGE, "%s: a name without control characters is expected", what);
    }
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (strstr(name, marks[i]))
            die(EX_CONFIG,
                "%s \"%s\": the SQL cannot be printed for a name with %s in it; rename it", what,
                name, marks[i]);
    }
}

static void check_names(const struct config *config, const char *role)
{
    column_list *const lists[] = {schema_read_columns, schema_written_columns};

    check_name("--role", role);
    check_name("postgres.table", config->postgres_table);
    check_name("postgres.usage_table", config->postgres_usage_table);
    check_name("postgres.ledger_table", config->postgres_ledger_table);
    check_name("postgres.name_column", config->postgres_name_column);
    check_name("postgres.successor_of_column", config->postgres_successor_of_column);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const char *columns[SCHEMA_COLUMNS_MAX] = {NULL};

        lists[i](config, columns);
        for (size_t k = 0; columns[k]; k++)
            check_name("a column's name", columns[k]);
    }
}

int run_schema_sql(const struct request *request)
{
    struct config *config = daemon_config(request);
    const char *role = request->role ? request->role : default_role;
    struct buffer sql = {0};

    check_choice(request);
    if (request->part && strcmp(request->part, SCHEMA_ROTATION) == 0 &&
        !config->postgres_successor_of_column[0])
        die(EX_CONFIG, "--part rotation: postgres.successor_of_column is empty: name the column "
                       "there that is to be added, as in successor_of");
    check_names(config, role);
    for (int i = 0; i < PARTS; i++) {
        const struct part *part = &parts[request->undo ? PARTS - 1 - i : i];

        if (is_wanted(request, config, part))
            append_part(&sql, request, config, role, part);
    }
    fwrite(sql.data, 1, sql.len, stdout);
    buffer_free(&sql);
    config_free(config);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EX_IOERR;
}

enum { PARAMS_MAX = 16 };

static_assert(PARAMS_MAX >= (int)SCHEMA_CHECK_PARAMS &&
                  PARAMS_MAX >= (int)SCHEMA_INSPECTION_PARAMS &&
                  PARAMS_MAX >= (int)USAGE_CHECK_PARAMS,
              "each query's parameters fit");

static PGresult *ask(PGconn *connection, const char *sql, int params, const char *const *values)
{
    static const Oid text_type = 25;
    Oid types[PARAMS_MAX];

    for (int i = 0; i < params; i++)
        types[i] = text_type;
    PGresult *result = PQexecParams(connection, sql, params, types, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        die(STATUS_FAILED, "the database: %s", PQresultErrorMessage(result));
    return result;
}

/* A definition cannot be read while another session changes it. To compile the queries takes longer
 * than to run them. */
static void limit_waits(PGconn *connection)
{
    PQclear(ask(connection,
                "SELECT pg_catalog.set_config('lock_timeout', '5s', false), "
                "pg_catalog.set_config('statement_timeout', '60s', false), "
                "pg_catalog.set_config('jit', 'off', false)",
                0, NULL));
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

/* Rows of a check; returns whether nothing is missing or in the way. */
static bool add_found(PGconn *connection, const char *sql, int params, const struct buffer *param,
                      json_t *rows)
{
    const char *values[PARAMS_MAX] = {NULL};
    bool fine = true;

    for (int i = 0; i < params; i++)
        values[i] = param[i].data;
    PGresult *result = ask(connection, sql, params, values);
    for (int i = 0; i < PQntuples(result); i++) {
        const char *state = PQgetvalue(result, i, SCHEMA_CHECK_STATE);

        fine = fine && (strcmp(state, "ok") == 0 || strcmp(state, "advice") == 0);
        add_row(rows, state, PQgetvalue(result, i, SCHEMA_CHECK_WHAT),
                PQgetvalue(result, i, SCHEMA_CHECK_ACTION));
    }
    PQclear(result);
    return fine;
}

static bool check_rest(PGconn *connection, const struct config *config, const char *role,
                       json_t *rows)
{
    struct schema_check check;

    schema_check_init(&check, config, role);
    bool fine = add_found(connection, check.sql, SCHEMA_CHECK_PARAMS, check.param, rows);
    schema_check_done(&check);
    return fine;
}

static bool check_usage(PGconn *connection, const struct config *config, const char *role,
                        json_t *rows)
{
    struct usage_check check;

    if (config->usage_counts == USAGE_COUNTS_OFF)
        return true;
    database_pin_path(connection);
    usage_check_init(&check, config, role);
    bool fine = add_found(connection, check.sql, USAGE_CHECK_PARAMS, check.param, rows);
    usage_check_done(&check);
    return fine;
}

struct report {
    json_t *rows;
    bool fine;
};

static void say(void *arg, const char *state, const char *what, const char *action)
{
    struct report *report = arg;

    report->fine = report->fine && strcmp(state, "in the way") != 0;
    add_row(report->rows, state, what, action);
}

static bool check_rows(PGconn *connection, const struct config *config, json_t *rows)
{
    struct report report = {rows, true};

    stored_keys_check(connection, config, say, &report);
    return report.fine;
}

int run_schema_check(const struct request *request)
{
    static const struct column columns[] = {{"state", "STATE"}, {"what", "WHAT"}, {"do", "DO"}};
    struct config *config = daemon_config(request);
    json_t *rows = json_array();

    check_choice(request);
    PGconn *connection = database_connect(request, config);
    limit_waits(connection);
    const char *role = request->role ? request->role : "";
    bool fine = check_rest(connection, config, role, rows);
    fine = check_triggers(connection, config, rows) && fine;
    fine = check_rows(connection, config, rows) && fine;
    fine = check_usage(connection, config, role, rows) && fine;
    output_rows(request->json, rows, columns, sizeof columns / sizeof columns[0]);
    PQfinish(connection);
    config_free(config);
    return fine ? EXIT_SUCCESS : STATUS_FAILED;
}
