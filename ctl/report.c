/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "daemon_client.h"
#include "die.h"
#include "duration.h"
#include "keys.h"
#include "output.h"
#include "still_tried.h"

#define TIME(column) "{" column "}::pg_catalog.timestamptz"
#define NOW "pg_catalog.now()"
#define SECONDS "pg_catalog.make_interval(secs => $2::pg_catalog.float8)"

/* Keys that may pass, or will: the others are refused for good already. Times of the table are
 * taken in the session's time zone, and PostgreSQL's clock judges. */
static void append_alive(const struct config *config, struct buffer *condition)
{
    if (config->postgres_active_column[0])
        buffer_text(condition, "{active} IS TRUE AND ");
    if (config->postgres_expires_column[0])
        buffer_text(condition,
                    "coalesce(" TIME("expires") " OPERATOR(pg_catalog.>) " NOW ", true) AND ");
}

/* A key that was never used is idle since it was made; without postgres.created_column nobody knows
 * since when. */
static void append_idle(const struct config *config, struct buffer *condition)
{
    const char *since = config->postgres_created_column[0]
                            ? "coalesce(" TIME("last_used") ", " TIME("created") ")"
                            : TIME("last_used");

    buffer_printf(condition,
                  "%s OPERATOR(pg_catalog.<) (" NOW " OPERATOR(pg_catalog.-) " SECONDS
                  ") ORDER BY %s, {id}",
                  since, since);
}

static void append_never_used(const struct config *config, struct buffer *condition)
{
    buffer_printf(condition, "{last_used} IS NULL ORDER BY %s{id}",
                  config->postgres_created_column[0] ? "{created}, " : "");
}

static void append_expiring(struct buffer *condition)
{
    buffer_text(condition,
                TIME("expires") " OPERATOR(pg_catalog.<=) (" NOW " OPERATOR(pg_catalog.+) " SECONDS
                                ") ORDER BY {expires}, {id}");
}

static json_t *find(const struct request *request, struct keys_db *db, int64_t seconds)
{
    const struct config *config = keys_db_config(db);
    char number[24];
    const char *const values[] = {request->user, number};
    struct buffer condition = {0};

    snprintf(number, sizeof number, "%" PRId64, seconds);
    append_alive(config, &condition);
    if (request->idle)
        append_idle(config, &condition);
    else if (request->expiring)
        append_expiring(&condition);
    else
        append_never_used(config, &condition);
    buffer_append(&condition, "", 1);
    json_t *rows = keys_db_rows(db, condition.data, request->never_used ? 1 : 2, values);
    buffer_free(&condition);
    return rows;
}

/* Who has a successor, and whether that one is used: then its owner has changed keys. */
static void add_successors(struct keys_db *db, json_t *rows)
{
    json_t *successors = keys_db_successors(db, rows);
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "api_key_id"));
        const json_t *successor = json_object_get(successors, id);
        json_t *used = json_object_get(successor, "last_used");

        json_object_set_new(row, "successor",
                            successor ? json_incref(json_object_get(successor, "api_key_id"))
                                      : json_null());
        json_object_set_new(row, "successor_last_used", used ? json_incref(used) : json_null());
    }
    json_decref(successors);
}

/* What the report is about, in seconds; 0 for a report about no time. */
static int64_t asked_seconds(const struct request *request)
{
    if ((request->idle != NULL) + (request->expiring != NULL) + request->never_used +
            request->still_tried !=
        1)
        die(EX_USAGE, "keys report needs one of --idle TIME, --expiring TIME, --never-used and "
                      "--still-tried");
    if (request->json && request->csv)
        die(EX_USAGE, "keys report prints --json or --csv, not both");
    if (request->expiring)
        return duration_seconds("--expiring", request->expiring, 1);
    return request->idle ? duration_seconds("--idle", request->idle, 1) : 0;
}

/* The last two columns are of successors, in a table that links keys with them. */
static void print(const struct request *request, struct keys_db *db, json_t *rows,
                  const struct column *columns, size_t len)
{
    enum output_form form = request->json ? OUTPUT_JSON : OUTPUT_TABLE;
    bool linked = keys_db_config(db)->postgres_successor_of_column[0];

    if (linked)
        add_successors(db, rows);
    output_rows_as(request->csv ? OUTPUT_CSV : form, rows, columns, linked ? len : len - 2);
}

static void print_found(const struct request *request, struct keys_db *db, int64_t seconds)
{
    static const struct column columns[] = {
        {"api_key_id", "API_KEY_ID"},
        {"name", "NAME"},
        {"expires_at", "ENDS"},
        {"last_used", "LAST_USED"},
        {"created_at", "CREATED"},
        {"user_id", "USER"},
        {"fingerprint", "KEY"},
        {"successor", "SUCCESSOR"},
        {"successor_last_used", "SUCCESSOR_USED"},
    };

    print(request, db, find(request, db, seconds), columns, sizeof columns / sizeof columns[0]);
}

static void print_still_tried(const struct request *request, struct keys_db *db)
{
    static const struct column columns[] = {
        {"api_key_id", "API_KEY_ID"},
        {"name", "NAME"},
        {"verdict", "VERDICT"},
        {"refusals", "REFUSALS"},
        {"first_refused", "FIRST_REFUSED"},
        {"last_refused", "LAST_REFUSED"},
        {"last_used", "LAST_USED"},
        {"user_id", "USER"},
        {"fingerprint", "KEY"},
        {"successor", "SUCCESSOR"},
        {"successor_last_used", "SUCCESSOR_USED"},
    };

    print(request, db, still_tried(request, db), columns, sizeof columns / sizeof columns[0]);
}

int run_keys_report(const struct request *request)
{
    int64_t seconds = asked_seconds(request);
    struct config *config = daemon_config(request);

    if (request->expiring && !config->postgres_expires_column[0])
        die(EX_CONFIG, "--expiring needs postgres.expires_column, which is empty: no key ends");
    struct keys_db *db = keys_connect(request, config);
    if (request->still_tried)
        print_still_tried(request, db);
    else
        print_found(request, db, seconds);
    keys_db_close(db);
    config_free(config);
    return EXIT_SUCCESS;
}
