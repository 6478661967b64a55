/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "daemon_client.h"
#include "die.h"
#include "duration.h"
#include "keys.h"
#include "output.h"

/* Active keys only: the others are refused already. A key that was never used is idle since it was
 * made; without postgres.created_column nobody knows since when. Times of the table are taken in
 * the session's time zone, and PostgreSQL's clock judges. */
#define ACTIVE(config) ((config)->postgres_active_column[0] ? "{active} IS TRUE AND " : "")
#define SINCE(config)                                                                              \
    ((config)->postgres_created_column[0]                                                          \
         ? "coalesce({last_used}::pg_catalog.timestamptz, {created}::pg_catalog.timestamptz)"      \
         : "{last_used}::pg_catalog.timestamptz")

static json_t *idle(struct keys_db *db, const struct request *request)
{
    const struct config *config = keys_db_config(db);
    char seconds[24];
    const char *const values[] = {request->user, seconds};
    struct buffer where = {0};

    snprintf(seconds, sizeof seconds, "%" PRId64, duration_seconds("--idle", request->idle, 1));
    buffer_printf(&where,
                  "%s%s OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) "
                  "pg_catalog.make_interval(secs => $2::pg_catalog.float8)) ORDER BY %s, {id}",
                  ACTIVE(config), SINCE(config), SINCE(config));
    buffer_append(&where, "", 1);
    json_t *rows = keys_db_rows(db, where.data, 2, values);
    buffer_free(&where);
    return rows;
}

static json_t *never_used(struct keys_db *db, const struct request *request)
{
    const struct config *config = keys_db_config(db);
    const char *const values[] = {request->user};
    struct buffer where = {0};

    buffer_printf(&where, "%s{last_used} IS NULL ORDER BY %s{id}", ACTIVE(config),
                  config->postgres_created_column[0] ? "{created}, " : "");
    buffer_append(&where, "", 1);
    json_t *rows = keys_db_rows(db, where.data, 1, values);
    buffer_free(&where);
    return rows;
}

int run_keys_report(const struct request *request)
{
    static const struct column columns[] = {
        {"api_key_id", "API_KEY_ID"}, {"name", "NAME"},    {"last_used", "LAST_USED"},
        {"created_at", "CREATED"},    {"user_id", "USER"}, {"fingerprint", "KEY"},
    };
    enum output_form form = request->json ? OUTPUT_JSON : OUTPUT_TABLE;

    if ((request->idle != NULL) + request->never_used != 1)
        die(EX_USAGE, "keys report needs one of --idle TIME and --never-used");
    if (request->json && request->csv)
        die(EX_USAGE, "keys report prints --json or --csv, not both");
    if (request->idle)
        (void)duration_seconds("--idle", request->idle, 1);
    struct config *config = daemon_config(request);
    struct keys_db *db = keys_connect(request, config);

    output_rows_as(request->csv ? OUTPUT_CSV : form,
                   request->idle ? idle(db, request) : never_used(db, request), columns,
                   sizeof columns / sizeof columns[0]);
    keys_db_close(db);
    config_free(config);
    return EXIT_SUCCESS;
}
