/* SPDX-License-Identifier: MIT */
#include "key_query.h"

#include <string.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/sql_template.h>
#include <apikeyd/model/quota.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_id.h>

enum {
    COLUMN_KEY,
    COLUMN_FALLBACK,
    COLUMN_API_KEY_ID,
    COLUMN_USER_ID,
    COLUMN_ACTIVE,
    COLUMN_CREATED,
    COLUMN_NOT_BEFORE,
    COLUMN_NOT_BEFORE_IN_ZONE,
    COLUMN_EXPIRES,
    COLUMN_EXPIRES_IN_ZONE,
    COLUMN_READ,
    COLUMN_STORE,
    COLUMN_QUOTA,
    COLUMN_ATTRIBUTES /* as many as there are, from here on */
};

/* A column of the row, or the value of every row if the table has no such column. */
static void append_column(struct buffer *text, char alias, const char *column, const char *absent)
{
    if (column)
        buffer_printf(text, ", %c.%s", alias, column);
    else
        buffer_printf(text, ", %s", absent);
}

/* The column as it is, and as a time without zone is read in postgres.timestamp_zone: of both, the
 * one of type timestamp with time zone counts (read_instant()). A time with a zone is not
 * converted: that may fail. PostgreSQL refuses the statement for a time near the ends of its
 * calendar that the zone leads beyond them, so times that count as infinite are infinite before. */
static void append_instant(struct buffer *text, char alias, const char *name, const char *column)
{
    if (column[0])
        buffer_printf(text,
                      ", %c.%s, CASE WHEN pg_catalog.pg_typeof(%c.%s) OPERATOR(pg_catalog.<>) "
                      "'pg_catalog.timestamptz'::pg_catalog.regtype "
                      "THEN pg_catalog.timezone({zone}, CASE "
                      "WHEN %c.%s OPERATOR(pg_catalog.<) '4000-01-01 BC'::pg_catalog.timestamptz "
                      "THEN '-infinity' "
                      "WHEN %c.%s OPERATOR(pg_catalog.>) '200000-01-01'::pg_catalog.timestamptz "
                      "THEN 'infinity' ELSE %c.%s END) END",
                      alias, name, alias, name, alias, name, alias, name, alias, name);
    else
        buffer_text(text, ", NULL::pg_catalog.timestamptz, NULL::pg_catalog.timestamp");
}

/* `alias` distinguishes the statements in pg_stat_activity. statement_timestamp() is taken before
 * the rows are read, so no change after it is missed by a verdict of that age. A null flag is not
 * true. */
static void append_rows(struct buffer *text, const struct config *config, char alias)
{
    const char *fallback =
        config->postgres_key_column_fallback[0] ? "{fallback}::pg_catalog.text" : NULL;
    const char *active = config->postgres_active_column[0] ? "{active} IS TRUE" : NULL;
    const char *created = config->postgres_created_column[0] ? "{created}" : NULL;
    const char *quota = config_has_quotas(config) ? "{quota}" : NULL;

    buffer_printf(text, "SELECT %c.{key}::pg_catalog.text", alias);
    append_column(text, alias, fallback, "NULL::pg_catalog.text");
    buffer_printf(text, ", %c.{id}, %c.{user}", alias, alias);
    append_column(text, alias, active, "true");
    append_column(text, alias, created, "NULL::pg_catalog.timestamptz");
    append_instant(text, alias, "{not_before}", config->postgres_not_before_column);
    append_instant(text, alias, "{expires}", config->postgres_expires_column);
    buffer_text(text, ", pg_catalog.statement_timestamp(), NULL::pg_catalog.record");
    append_column(text, alias, quota, "NULL::pg_catalog.int8");
    attribute_query_append(text, config, alias);
    buffer_printf(text, " FROM {table} AS %c WHERE ", alias);
}

/* Each column has an index of its own, so that there is a SELECT for each. No row comes twice. */
static char *make_sql(const struct config *config, char alias, const char *keys,
                      const char *fallback_keys)
{
    struct buffer text = {0};
    struct buffer sql = {0};

    append_rows(&text, config, alias);
    buffer_printf(&text, "%c.{key} OPERATOR(pg_catalog.=) ANY (%s) UNION ALL ", alias, keys);
    if (config->postgres_key_column_fallback[0]) {
        append_rows(&text, config, alias);
        buffer_printf(&text,
                      "%c.{fallback} OPERATOR(pg_catalog.=) ANY (%s) "
                      "AND (%c.{key} OPERATOR(pg_catalog.=) ANY (%s)) IS NOT TRUE UNION ALL ",
                      alias, fallback_keys, alias, keys);
    }
    buffer_text(&text, "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
                       "pg_catalog.statement_timestamp(), " STORE_MARK ", NULL");
    attribute_query_append_none(&text, config);
    buffer_append(&text, "", 1);
    sql_template(&sql, config, text.data);
    buffer_append(&sql, "", 1);
    buffer_free(&text);
    return sql.data;
}

char *key_query_sql(const struct config *config)
{
    return make_sql(config, 't', "$1", "$2");
}

char *key_query_probe_sql(const struct config *config)
{
    return make_sql(config, 'p', "NULL::pg_catalog.text[]", "NULL::pg_catalog.text[]");
}

static bool tells_store(const PGresult *result, int i)
{
    return !PQgetisnull(result, i, COLUMN_STORE);
}

static bool is_time(const PGresult *result, int column)
{
    Oid oid = PQftype(result, column);

    return oid == PG_TIMESTAMP || oid == PG_TIMESTAMPTZ;
}

static bool is_integer(const PGresult *result, int column)
{
    Oid oid = PQftype(result, column);

    return oid == PG_INT8 || oid == PG_INT4 || oid == PG_INT2;
}

struct key_misfit key_query_misfit(const PGresult *result, const struct config *config)
{
    enum id_type type = (enum id_type)config->postgres_id_type;
    const struct {
        int column;
        bool fits;
        const char *why;
    } columns[] = {
        {COLUMN_API_KEY_ID, pg_id_fits(result, COLUMN_API_KEY_ID, type),
         "postgres.id_column is not of the type that postgres.id_type names"},
        {COLUMN_USER_ID, pg_id_fits(result, COLUMN_USER_ID, type),
         "postgres.user_column is not of the type that postgres.id_type names"},
        {COLUMN_CREATED, is_time(result, COLUMN_CREATED),
         "postgres.created_column is not of type timestamp, with or without time zone"},
        {COLUMN_NOT_BEFORE, is_time(result, COLUMN_NOT_BEFORE),
         "postgres.not_before_column is not of type timestamp, with or without time zone"},
        {COLUMN_EXPIRES, is_time(result, COLUMN_EXPIRES),
         "postgres.expires_column is not of type timestamp, with or without time zone"},
        {COLUMN_QUOTA, is_integer(result, COLUMN_QUOTA),
         "postgres.quota_column is not of type bigint, integer or smallint"},
    };

    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        if (!columns[i].fits)
            return (struct key_misfit){columns[i].why,
                                       pg_type_name(PQftype(result, columns[i].column)), NULL};
    }
    struct attribute_misfit attribute =
        attribute_query_misfit(result, COLUMN_ATTRIBUTES, &config->postgres_attribute_columns);
    if (attribute.column)
        return (struct key_misfit){"a column of postgres.attribute_columns is not of type text, "
                                   "varchar, text[], an enum, json, jsonb, boolean or uuid, and no "
                                   "number",
                                   attribute.type, attribute.column};
    return (struct key_misfit){0};
}

/* Returns whether each instant is NULL or a number of 8 bytes. */
static bool has_instants(const PGresult *result, int i)
{
    for (int column = COLUMN_NOT_BEFORE; column <= COLUMN_EXPIRES_IN_ZONE; column++) {
        if (!PQgetisnull(result, i, column) && PQgetlength(result, i, column) != 8)
            return false;
    }
    return true;
}

/* Returns whether the quota is NULL, or as long as its type says. Another type is a misfit. */
static bool has_quota(const PGresult *result, int i)
{
    Oid oid = PQftype(result, COLUMN_QUOTA);
    int len = oid == PG_INT8 ? 8 : oid == PG_INT4 ? 4 : 2;

    return PQgetisnull(result, i, COLUMN_QUOTA) || !is_integer(result, COLUMN_QUOTA) ||
           PQgetlength(result, i, COLUMN_QUOTA) == len;
}

bool key_query_valid(const PGresult *result, const struct config *config,
                     struct store_told *ret_told)
{
    const struct attribute_columns *attributes = &config->postgres_attribute_columns;
    bool told = false;

    if (PQnfields(result) != COLUMN_ATTRIBUTES + (int)attributes->len * ATTRIBUTE_COLUMNS_EACH)
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        if (PQgetlength(result, i, COLUMN_READ) != 8 || !has_instants(result, i) ||
            !has_quota(result, i) ||
            !attribute_query_valid(result, i, COLUMN_ATTRIBUTES, attributes))
            return false;
        if (!tells_store(result, i)) {
            if (PQgetlength(result, i, COLUMN_ACTIVE) != 1)
                return false;
            continue;
        }
        if (!store_mark_read(PQgetvalue(result, i, COLUMN_STORE),
                             PQgetlength(result, i, COLUMN_STORE), ret_told))
            return false;
        told = true;
    }
    return told;
}

/* An instant in µs since 1970, from 1 to KEY_WINDOW_NEVER; 0 for NULL. */
static int64_t read_instant(const PGresult *result, int i, int column)
{
    int zoned = PQftype(result, column) == PG_TIMESTAMPTZ ? column : column + 1;

    if (PQgetisnull(result, i, zoned))
        return 0;
    int64_t instant = pg_get_int64(PQgetvalue(result, i, zoned)); /* infinity: INT64_MAX */
    if (instant >= KEY_WINDOW_NEVER - PG_EPOCH_US)
        return KEY_WINDOW_NEVER;
    return instant > -PG_EPOCH_US ? instant + PG_EPOCH_US : 1;
}

/* An end at infinity is none. */
static struct key_window read_window(const PGresult *result, int i)
{
    struct key_window window = {read_instant(result, i, COLUMN_NOT_BEFORE),
                                read_instant(result, i, COLUMN_EXPIRES)};

    if (window.end_us == KEY_WINDOW_NEVER)
        window.end_us = 0;
    return window;
}

/* False when the row has not both IDs. */
static bool read_verdict(const PGresult *result, int i, enum id_type type, struct verdict *ret)
{
    bool active = PQgetvalue(result, i, COLUMN_ACTIVE)[0] != 0;

    *ret = (struct verdict){.kind = active ? VERDICT_ALLOW : VERDICT_DENY_INACTIVE,
                            .id_type = type,
                            .rows = 1,
                            .window = read_window(result, i)};
    bool has_id = pg_id_read(result, i, COLUMN_API_KEY_ID, type, &ret->api_key_id);
    return pg_id_read(result, i, COLUMN_USER_ID, type, &ret->user_id) && has_id;
}

/* The text of a column; empty for NULL. */
static struct slice read_text(const PGresult *result, int i, int column)
{
    return (struct slice){PQgetvalue(result, i, column), (size_t)PQgetlength(result, i, column)};
}

bool key_query_row(const PGresult *result, int i, enum id_type type, struct key_row *ret)
{
    ret->server_read_us = pg_get_int64(PQgetvalue(result, i, COLUMN_READ)) + PG_EPOCH_US;
    ret->index = i;
    if (tells_store(result, i))
        return false;
    ret->key = read_text(result, i, COLUMN_KEY);
    ret->fallback = read_text(result, i, COLUMN_FALLBACK);
    ret->broken = !read_verdict(result, i, type, &ret->verdict);
    ret->created_at = PQgetisnull(result, i, COLUMN_CREATED)
                          ? INT64_MAX
                          : pg_get_int64(PQgetvalue(result, i, COLUMN_CREATED));
    return true;
}

/* A negative one allows nothing, as 0 does. */
static uint64_t read_quota(const PGresult *result, int i)
{
    const char *bytes = PQgetvalue(result, i, COLUMN_QUOTA);
    int64_t quota = 0;

    switch (PQgetlength(result, i, COLUMN_QUOTA)) {
    case 8:
        quota = pg_get_int64(bytes);
        break;
    case 4:
        quota = pg_get_int32(bytes);
        break;
    case 2:
        quota = (int16_t)((unsigned char)bytes[0] << 8 | (unsigned char)bytes[1]);
        break;
    }
    return quota > 0 ? (uint64_t)quota : 0;
}

void key_query_attributes(const PGresult *result, int i, const struct config *config,
                          struct attributes_draft *ret_draft, struct attribute_faults *ret_faults)
{
    ret_draft->len = ret_draft->values_len = 0;
    if (!PQgetisnull(result, i, COLUMN_QUOTA))
        quota_append(ret_draft, read_quota(result, i));
    attribute_query_read(result, i, COLUMN_ATTRIBUTES, &config->postgres_attribute_columns,
                         ret_draft, ret_faults);
}

size_t key_row_hash(const struct key_row *row, const struct key_names *names)
{
    size_t i = 0;

    while (i < names->hashes &&
           !slice_equal(row->key, (struct slice){names->hash[i], KEY_HASH_LEN}))
        i++;
    return i;
}

enum key_row_standing key_row_judge(const struct key_row *row, const struct key_names *names,
                                    struct slice key)
{
    bool has_raw = row->fallback.len > 0 && !key_hash_form(row->fallback);

    if (names->hashes == 0)
        return KEY_ROW_FITS; /* found by the key itself */
    if (row->key.len == 0)
        return has_raw ? KEY_ROW_FITS : KEY_ROW_HASH_IN_FALLBACK;
    if (key_row_hash(row, names) == names->hashes)
        return key_hash_stored(row->key) ? KEY_ROW_TORN : KEY_ROW_NO_HASH;
    return has_raw && !slice_equal(row->fallback, key) ? KEY_ROW_TORN : KEY_ROW_FITS;
}

static bool is_older(const struct key_row *row, const struct key_finding *finding)
{
    if (row->created_at != finding->created_at)
        return row->created_at < finding->created_at;
    return row_id_order(&row->verdict.api_key_id, &finding->verdict.api_key_id) < 0;
}

void key_query_combine(struct key_finding *finding, const struct key_row *row)
{
    const struct verdict before = finding->verdict;
    struct verdict *verdict = &finding->verdict;

    if (before.rows == 0 || is_older(row, finding)) {
        *verdict = row->verdict;
        finding->created_at = row->created_at;
        finding->row = row->index;
    }
    verdict->window = before.rows == 0 ? row->verdict.window
                                       : key_window_both(before.window, row->verdict.window);
    verdict->rows = before.rows + 1;
    verdict->read_at_us = before.read_at_us;
    if (before.kind == VERDICT_DENY_INACTIVE || row->verdict.kind == VERDICT_DENY_INACTIVE)
        verdict->kind = VERDICT_DENY_INACTIVE;
    finding->broken = finding->broken || row->broken;
    finding->server_read_us = row->server_read_us;
}
