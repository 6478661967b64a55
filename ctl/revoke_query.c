/* SPDX-License-Identifier: MIT */
#include "revoke_query.h"

#include <stdlib.h>

#include <apikeyd/model/key_hasher.h>

enum { ROW_PLACE, ROW_ID, ROW_AMBIGUOUS, ROW_REVOKED, ROW_FIRST };

static void clear(struct buffer *array)
{
    if (array->data)
        explicit_bzero(array->data, array->cap);
    buffer_free(array);
}

void leaked_clear(struct leaked *leaked)
{
    clear(&leaked->values);
    clear(&leaked->places);
    clear(&leaked->raw_values);
    clear(&leaked->raw_places);
}

/* Append to the text of an array, in quotes (PostgreSQL manual, 8.15.6); leaked_end() closes it. */
static void append(struct buffer *values, struct buffer *places, struct slice value, size_t place)
{
    buffer_text(values, values->len > 0 ? ",\"" : "{\"");
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] == '"' || value.at[i] == '\\')
            buffer_text(values, "\\");
        buffer_append(values, &value.at[i], 1);
    }
    buffer_text(values, "\"");
    buffer_printf(places, "%s%zu", places->len > 0 ? "," : "{", place);
}

/* The text of a whole array, with its end. */
static char *whole(const struct buffer *array)
{
    struct buffer text = {0};

    buffer_text(&text, array->len > 0 ? "" : "{");
    buffer_append(&text, buffer_held(array).at, array->len);
    buffer_append(&text, "}", sizeof "}");
    return text.data;
}

void leaked_add_key(struct leaked *leaked, struct keys_db *db, size_t place, struct slice key,
                    char ret_fingerprint[static FINGERPRINT_SIZE])
{
    struct key_names names;

    keys_db_names(db, key, &names);
    digest_fingerprint(&names.digests.of[0], ret_fingerprint);
    for (size_t i = 0; i < names.hashes; i++)
        append(&leaked->values, &leaked->places, (struct slice){names.hash[i], KEY_HASH_LEN},
               place);
    if (names.hashes == 0)
        append(&leaked->values, &leaked->places, key, place);
    else
        append(&leaked->raw_values, &leaked->raw_places, key, place);
    explicit_bzero(&names, sizeof names);
}

void leaked_add_fingerprint(struct leaked *leaked, size_t place, struct slice fingerprint)
{
    append(&leaked->values, &leaked->places,
           (struct slice){fingerprint.at + 3, fingerprint.len - 3}, place);
}

#define ASKED(values, places)                                                                      \
    "FROM ROWS FROM (pg_catalog.unnest(" places "::pg_catalog.int4[]), "                           \
    "pg_catalog.unnest(" values "::pg_catalog.text[])) AS a(place, value) JOIN {table} AS t ON "
#define FOUND "SELECT a.place, t.{id} AS id, t.{active} IS TRUE AS active, "

/* A key has no hash here, so that no two of them differ. */
#define BY_KEY                                                                                     \
    FOUND "NULL::pg_catalog.text AS hash " ASKED("$1",                                             \
                                                 "$2") "t.{key} OPERATOR(pg_catalog.=) a.value"
#define BY_FALLBACK FOUND "NULL " ASKED("$3", "$4") "t.{fallback} OPERATOR(pg_catalog.=) a.value"

/* A fingerprint is the first eight digits of a value's hash. */
#define KEY "t.{key}::pg_catalog.text"
#define EITHER                                                                                     \
    "CASE WHEN " KEY " OPERATOR(pg_catalog.<>) '' THEN " KEY                                       \
    " ELSE t.{fallback}::pg_catalog.text END"
#define HASH(value)                                                                                \
    "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(" value ", 'UTF8')), 'hex')"
#define BY_FINGERPRINT(value)                                                                      \
    FOUND HASH(value) " AS hash " ASKED("$1", "$2") "pg_catalog.left(" HASH(                       \
        value) ", 8) OPERATOR(pg_catalog.=) a.value"

static const char by_key[] = BY_KEY;
static const char by_fallback[] = " UNION " BY_FALLBACK;
static const char by_fingerprint[] = BY_FINGERPRINT(KEY);
static const char by_fingerprint_of_both[] = BY_FINGERPRINT(EITHER);

static const char sql_judged[] =
    "), judged AS MATERIALIZED (SELECT f.place, f.id, f.active, (pg_catalog.min(f.hash) OVER w "
    "OPERATOR(pg_catalog.<>) pg_catalog.max(f.hash) OVER w) IS TRUE AS ambiguous FROM found AS f "
    "WINDOW w AS (PARTITION BY f.place))";

/* A key may stand in several lines, and counts once. */
#define FIRST                                                                                      \
    "pg_catalog.row_number() OVER (PARTITION BY j.id ORDER BY j.place) OPERATOR(pg_catalog.=) 1"

/* Rows are locked in the order of their IDs, so that two such runs cannot deadlock. */
static const char sql_locked[] =
    ", locked AS MATERIALIZED (SELECT t.{id} AS id FROM {table} AS t WHERE t.{active} IS TRUE AND "
    "t.{id} OPERATOR(pg_catalog.=) ANY (SELECT j.id FROM judged AS j WHERE NOT j.ambiguous) "
    "ORDER BY t.{id} FOR NO KEY UPDATE), "
    "revoked AS (UPDATE {table} AS t SET {active} = false";
static const char sql_touches[] = ", {updated} = pg_catalog.now()";
static const char sql_revokes[] =
    " FROM locked AS l WHERE t.{id} OPERATOR(pg_catalog.=) l.id RETURNING t.{id} AS id) "
    "SELECT j.place, j.id::pg_catalog.text, j.ambiguous, r.id IS NOT NULL, " FIRST
    " FROM judged AS j "
    "LEFT JOIN revoked AS r ON r.id OPERATOR(pg_catalog.=) j.id ORDER BY j.place, j.id";
static const char sql_shows[] =
    " SELECT j.place, j.id::pg_catalog.text, j.ambiguous, "
    "j.active AND NOT j.ambiguous, " FIRST " FROM judged AS j ORDER BY j.place, j.id";

PGresult *revoke_query_run(struct keys_db *db, const struct leaked *leaked, bool fingerprints,
                           bool dry_run)
{
    const struct config *config = keys_db_config(db);
    bool both = config->postgres_key_column_fallback[0];
    const char *touches = config->postgres_updated_column[0] ? sql_touches : "";
    char *values[] = {whole(&leaked->values), whole(&leaked->places), whole(&leaked->raw_values),
                      whole(&leaked->raw_places)};
    struct buffer text = {0};

    buffer_text(&text, "WITH found AS MATERIALIZED (");
    if (fingerprints) {
        buffer_text(&text, both ? by_fingerprint_of_both : by_fingerprint);
    } else {
        buffer_text(&text, by_key);
        buffer_text(&text, both ? by_fallback : "");
    }
    buffer_text(&text, sql_judged);
    buffer_text(&text, dry_run ? sql_shows : sql_locked);
    buffer_text(&text, dry_run ? "" : touches);
    buffer_text(&text, dry_run ? "" : sql_revokes);
    buffer_append(&text, "", 1);
    PGresult *result =
        keys_db_query(db, text.data, both && !fingerprints ? 4 : 2, (const char *const *)values);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        explicit_bzero(values[i], strlen(values[i]));
        free(values[i]);
    }
    buffer_free(&text);
    return result;
}

static bool is_true(const PGresult *result, int i, int column)
{
    return PQgetvalue(result, i, column)[0] == 't';
}

struct revoked_row revoke_query_row(const PGresult *result, int i)
{
    return (struct revoked_row){
        .place = strtoul(PQgetvalue(result, i, ROW_PLACE), NULL, 10),
        .id = PQgetvalue(result, i, ROW_ID),
        .ambiguous = is_true(result, i, ROW_AMBIGUOUS),
        .revoked = is_true(result, i, ROW_REVOKED),
        .first = is_true(result, i, ROW_FIRST),
    };
}
