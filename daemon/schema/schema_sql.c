/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/schema_sql.h>

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include <apikeyd/base/sql_name.h>

#include <apikeyd/schema/usage_names.h>

#include "schema_template.h"
#include "usage_template.h"

struct render {
    struct buffer *sql;
    const struct config *config;
    const char *role;
};

/* Columns of options that are empty are left out. */
static void take_columns(const char *const from[static SCHEMA_COLUMNS_MAX],
                         const char *ret_columns[static SCHEMA_COLUMNS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; from[i]; i++) {
        if (from[i][0])
            ret_columns[count++] = from[i];
    }
    ret_columns[count] = NULL;
}

void schema_key_columns(const struct config *config,
                        const char *ret_columns[static SCHEMA_COLUMNS_MAX])
{
    take_columns((const char *const[SCHEMA_COLUMNS_MAX]){config->postgres_key_column,
                                                         config->postgres_key_column_fallback},
                 ret_columns);
}

static bool has_column(const char *const columns[], const char *name)
{
    for (size_t i = 0; columns[i]; i++) {
        if (strcmp(columns[i], name) == 0)
            return true;
    }
    return false;
}

/* Add the columns of attributes that are not among the columns for another reason. */
static void add_attributes(const struct config *config,
                           const char *columns[static SCHEMA_COLUMNS_MAX])
{
    size_t count = 0;

    while (columns[count])
        count++;
    for (size_t i = 0; i < config->postgres_attribute_columns.len; i++) {
        const char *name = config->postgres_attribute_columns.column[i].name;

        if (has_column(columns, name))
            continue;
        columns[count++] = name;
        columns[count] = NULL;
    }
}

void schema_verdict_columns(const struct config *config,
                            const char *ret_columns[static SCHEMA_COLUMNS_MAX])
{
    const char *columns[SCHEMA_COLUMNS_MAX];
    size_t count = 0;

    schema_key_columns(config, columns);
    while (columns[count])
        count++;
    columns[count++] = config->postgres_active_column;
    columns[count++] = config->postgres_user_column;
    columns[count++] = config->postgres_id_column;
    columns[count++] = config->postgres_created_column; /* which of several rows is the oldest */
    columns[count++] = config->postgres_not_before_column;
    columns[count++] = config->postgres_expires_column;
    columns[count++] = config->postgres_quota_column;
    columns[count] = NULL;
    take_columns(columns, ret_columns);
    add_attributes(config, ret_columns);
}

/* The time of the last use moves forward only, so it is read. */
void schema_read_columns(const struct config *config,
                         const char *ret_columns[static SCHEMA_COLUMNS_MAX])
{
    const char *columns[SCHEMA_COLUMNS_MAX];
    size_t count = 0;

    schema_verdict_columns(config, columns);
    while (columns[count])
        count++;
    columns[count++] = config->postgres_last_used_column;
    columns[count] = NULL;
    take_columns(columns, ret_columns);
}

void schema_written_columns(const struct config *config,
                            const char *ret_columns[static SCHEMA_COLUMNS_MAX])
{
    take_columns((const char *const[SCHEMA_COLUMNS_MAX]){config->postgres_last_used_column,
                                                         config->postgres_updated_column},
                 ret_columns);
}

/* A table without a schema is in schema public. */
void schema_table_append(struct buffer *schema, struct buffer *table, const char *name)
{
    const char *dot = strchr(name, '.');

    if (dot)
        buffer_append(schema, name, (size_t)(dot - name));
    else
        buffer_text(schema, "public");
    buffer_text(table, dot ? dot + 1 : name);
}

typedef void column_append(struct buffer *sql, const char *name);

static void append_list(struct buffer *sql, const char *before, column_append *append,
                        const char *const columns[static SCHEMA_COLUMNS_MAX])
{
    for (size_t i = 0; columns[i]; i++) {
        buffer_printf(sql, "%s%s", i > 0 ? ", " : "", before);
        append(sql, columns[i]);
    }
}

void schema_array_append(struct buffer *text, const char *const columns[static SCHEMA_COLUMNS_MAX])
{
    buffer_text(text, "{");
    for (size_t i = 0; columns[i]; i++) {
        buffer_text(text, i > 0 ? ",\"" : "\"");
        for (const char *at = columns[i]; *at; at++)
            buffer_printf(text, "%s%c", *at == '"' || *at == '\\' ? "\\" : "", *at);
        buffer_text(text, "\"");
    }
    buffer_text(text, "}");
}

/* As a record it is compared whole, byte by byte; a comparison of two ROW(…) would look for an
 * operator of each column's type. */
void schema_comparison_body_append(struct buffer *sql, const struct config *config)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    schema_verdict_columns(config, columns);
    buffer_text(sql, "SELECT ROW(");
    append_list(sql, "$1.", sql_column_append, columns);
    buffer_text(sql, ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(");
    append_list(sql, "$2.", sql_column_append, columns);
    buffer_text(sql, ")::pg_catalog.record");
}

/* Tables of other columns have functions of their own: the name has a hash (FNV-1a) of the body. */
void schema_comparison_append(struct buffer *text, const struct config *config)
{
    static const uint32_t basis = 2166136261, prime = 16777619;
    struct buffer body = {0};
    uint32_t hash = basis;

    schema_comparison_body_append(&body, config);
    for (size_t i = 0; i < body.len; i++)
        hash = (hash ^ (unsigned char)body.data[i]) * prime;
    buffer_printf(text, "verdict_changes_%08" PRIx32, hash);
    buffer_free(&body);
}

static void append_table(struct render *render)
{
    sql_table_append(render->sql, render->config->postgres_table);
}

/* A name as it stands in SQL, as a literal. */
static void append_name_text(struct render *render, const char *table)
{
    struct buffer name = {0};

    sql_table_append(&name, table);
    buffer_append(&name, "", 1);
    sql_literal_append(render->sql, name.data);
    buffer_free(&name);
}

static void append_table_text(struct render *render)
{
    append_name_text(render, render->config->postgres_table);
}

static void append_role(struct render *render)
{
    sql_column_append(render->sql, render->role);
}

static void append_role_text(struct render *render)
{
    sql_literal_append(render->sql, render->role);
}

static void append_comparison(struct render *render)
{
    schema_comparison_append(render->sql, render->config);
}

static void append_comparison_body(struct render *render)
{
    schema_comparison_body_append(render->sql, render->config);
}

typedef void (*column_list)(const struct config *config, const char *ret_columns[]);

static void append_texts(struct render *render, column_list list)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    list(render->config, columns);
    append_list(render->sql, "", sql_literal_append, columns);
}

static void append_key_texts(struct render *render)
{
    append_texts(render, schema_key_columns);
}

static void append_column_texts(struct render *render)
{
    append_texts(render, schema_verdict_columns);
}

static void append_read_texts(struct render *render)
{
    append_texts(render, schema_read_columns);
}

static void append_written_texts(struct render *render)
{
    append_texts(render, schema_written_columns);
}

/* <table>_<column>_idx, as PostgreSQL itself would name it, cut where PostgreSQL would cut it. */
static void append_index_name(struct buffer *name, const struct config *config, const char *column)
{
    enum { NAME_BYTES_MAX = 63 };
    const char *dot = strchr(config->postgres_table, '.');
    struct buffer whole = {0};

    buffer_printf(&whole, "%s_%s_idx", dot ? dot + 1 : config->postgres_table, column);
    size_t len = whole.len < NAME_BYTES_MAX ? whole.len : NAME_BYTES_MAX;
    while (len < whole.len && ((unsigned char)whole.data[len] & 0xC0) == 0x80)
        len--;
    buffer_append(name, whole.data, len);
    buffer_append(name, "", 1);
    buffer_free(&whole);
}

static void append_index_texts(struct render *render)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    schema_key_columns(render->config, columns);
    for (size_t i = 0; columns[i]; i++) {
        struct buffer name = {0};

        append_index_name(&name, render->config, columns[i]);
        buffer_text(render->sql, i > 0 ? ", " : "");
        sql_literal_append(render->sql, name.data);
        buffer_free(&name);
    }
}

static void append_create_indexes(struct render *render)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    schema_key_columns(render->config, columns);
    for (size_t i = 0; columns[i]; i++) {
        struct buffer name = {0};

        append_index_name(&name, render->config, columns[i]);
        buffer_text(render->sql, "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ");
        sql_column_append(render->sql, name.data);
        buffer_text(render->sql, " ON ");
        append_table(render);
        buffer_text(render->sql, " (");
        sql_column_append(render->sql, columns[i]);
        buffer_text(render->sql, ");\n");
        buffer_free(&name);
    }
}

/* With the schema, as DROP INDEX needs it. */
static void append_schema_index_name(struct render *render, const char *column)
{
    const char *table = render->config->postgres_table;
    const char *dot = strchr(table, '.');
    struct buffer name = {0};

    if (dot)
        buffer_append(&name, table, (size_t)(dot - table) + 1);
    append_index_name(&name, render->config, column);
    sql_table_append(render->sql, name.data);
    buffer_free(&name);
}

static void append_drop_indexes(struct render *render)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    schema_key_columns(render->config, columns);
    for (size_t i = 0; columns[i]; i++) {
        buffer_text(render->sql, "-- DROP INDEX CONCURRENTLY ");
        append_schema_index_name(render, columns[i]);
        buffer_text(render->sql, ";\n");
    }
}

static void append_id(struct render *render)
{
    sql_column_append(render->sql, render->config->postgres_id_column);
}

static void append_id_text(struct render *render)
{
    sql_literal_append(render->sql, render->config->postgres_id_column);
}

static void append_user(struct render *render)
{
    sql_column_append(render->sql, render->config->postgres_user_column);
}

static void append_id_type(struct render *render)
{
    static const char *const types[] = {[ID_UUID] = "pg_catalog.uuid",
                                        [ID_BIGINT] = "pg_catalog.int8",
                                        [ID_TEXT] = "pg_catalog.text"};

    buffer_text(render->sql, types[render->config->postgres_id_type]);
}

static void append_schema(struct render *render, const char *table)
{
    struct buffer schema = {0}, name = {0};

    schema_table_append(&schema, &name, table);
    buffer_append(&schema, "", 1);
    sql_literal_append(render->sql, schema.data);
    buffer_free(&schema);
    buffer_free(&name);
}

static void append_usage_schema(struct render *render)
{
    append_schema(render, render->config->postgres_usage_table);
}

static void append_ledger_schema(struct render *render)
{
    append_schema(render, render->config->postgres_ledger_table);
}

/* A table's, view's or function's name, or with "_text" behind the value's name a literal of that.
 * Returns whether there is such a value. */
static bool append_usage_name(struct render *render, struct slice name)
{
    static const char text_mark[] = "_text";
    static const struct {
        const char *name, *suffix;
    } named_after[] = {
        {"usage_before", USAGE_BEFORE},
        {"usage_daily", USAGE_DAILY},
        {"usage_days", USAGE_DAYS},
        {"usage_maintain", USAGE_MAINTAIN},
    };
    struct buffer found = {0};
    bool text = name.len > strlen(text_mark) &&
                memcmp(name.at + name.len - strlen(text_mark), text_mark, strlen(text_mark)) == 0;

    if (text)
        name.len -= strlen(text_mark);
    if (slice_is(name, "usage_table"))
        buffer_text(&found, render->config->postgres_usage_table);
    if (slice_is(name, "ledger_table"))
        buffer_text(&found, render->config->postgres_ledger_table);
    for (size_t i = 0; i < sizeof named_after / sizeof named_after[0]; i++) {
        if (slice_is(name, named_after[i].name))
            usage_name_append(&found, render->config, named_after[i].suffix);
    }
    if (found.len == 0)
        return false;
    buffer_append(&found, "", 1);
    if (text)
        append_name_text(render, found.data);
    else
        sql_table_append(render->sql, found.data);
    buffer_free(&found);
    return true;
}

/* A name without its schema. */
static void append_stem(struct render *render, const char *suffix,
                        void append(struct buffer *sql, const char *name))
{
    struct buffer name = {0};

    usage_stem_append(&name, render->config, suffix);
    buffer_append(&name, "", 1);
    append(render->sql, name.data);
    buffer_free(&name);
}

static void append_usage_stem(struct render *render)
{
    append_stem(render, "", sql_literal_append);
}

static void append_before_name(struct render *render)
{
    append_stem(render, USAGE_BEFORE, sql_column_append);
}

static void append_usage_key(struct render *render)
{
    buffer_text(render->sql, "PRIMARY KEY (api_key_id, bucket, verdict)");
}

/* The table itself holds rows only where it has no partitions. */
static void append_usage_storage(struct render *render)
{
    buffer_text(render->sql, render->config->usage_retention > 0 ? "PARTITION BY RANGE (bucket)"
                                                                 : "WITH (fillfactor = 80)");
}

static void append_key_name(struct render *render)
{
    if (render->config->postgres_name_column[0]) {
        buffer_text(render->sql, "k.");
        sql_column_append(render->sql, render->config->postgres_name_column);
        buffer_text(render->sql, "::pg_catalog.text");
    } else {
        buffer_text(render->sql, "NULL::pg_catalog.text");
    }
}

static void append_drops(struct render *render)
{
    bool drops = render->config->usage_deleted_keys == USAGE_DELETED_KEYS_DROP;

    buffer_text(render->sql, drops ? "true" : "false");
}

/* In seconds, as a bigint's literal. */
static void append_retention(struct render *render)
{
    buffer_printf(render->sql, "%" PRId64, render->config->usage_retention / 1000000);
}

static void append_successor_of(struct render *render)
{
    sql_column_append(render->sql, render->config->postgres_successor_of_column);
}

static void append_successor_of_text(struct render *render)
{
    sql_literal_append(render->sql, render->config->postgres_successor_of_column);
}

static void append_successor_of_index(struct render *render)
{
    struct buffer name = {0};

    append_index_name(&name, render->config, render->config->postgres_successor_of_column);
    sql_column_append(render->sql, name.data);
    buffer_free(&name);
}

/* With the schema of the table. */
static void append_successor_of_index_name(struct render *render)
{
    append_schema_index_name(render, render->config->postgres_successor_of_column);
}

static void append_value(struct render *render, struct slice name)
{
    static const struct {
        const char *name;
        void (*append)(struct render *render);
    } values[] = {
        {"table", append_table},
        {"table_text", append_table_text},
        {"role", append_role},
        {"role_text", append_role_text},
        {"comparison", append_comparison},
        {"comparison_body", append_comparison_body},
        {"key_texts", append_key_texts},
        {"column_texts", append_column_texts},
        {"read_texts", append_read_texts},
        {"written_texts", append_written_texts},
        {"index_texts", append_index_texts},
        {"create_indexes", append_create_indexes},
        {"drop_indexes", append_drop_indexes},
        {"id", append_id},
        {"id_text", append_id_text},
        {"id_type", append_id_type},
        {"user", append_user},
        {"key_name", append_key_name},
        {"usage_schema", append_usage_schema},
        {"ledger_schema", append_ledger_schema},
        {"usage_key", append_usage_key},
        {"usage_storage", append_usage_storage},
        {"usage_stem", append_usage_stem},
        {"usage_before_name", append_before_name},
        {"drops", append_drops},
        {"retention", append_retention},
        {"successor_of", append_successor_of},
        {"successor_of_text", append_successor_of_text},
        {"successor_of_index", append_successor_of_index},
        {"successor_of_index_name", append_successor_of_index_name},
    };

    enum { VALUES = sizeof values / sizeof values[0] };
    size_t i = 0;

    if (append_usage_name(render, name))
        return;
    while (i < VALUES && !slice_is(name, values[i].name))
        i++;
    assert(i < VALUES);
    values[i].append(render);
}

static const char *find_section(const char *text, const char *section)
{
    static const char mark[] = "--- ";

    while (text && strncmp(text + strlen(mark), section, strcspn(text + strlen(mark), "\n")) != 0) {
        text = strstr(text + 1, "\n--- ");
        text = text ? text + 1 : NULL;
    }
    return text;
}

/* The text of a section, without the line that names it. */
static struct slice section_of(const char *section)
{
    const char *text = find_section((const char *)schema_template, section);

    if (!text)
        text = find_section((const char *)usage_template, section);
    assert(text);
    text += strcspn(text, "\n") + 1;
    const char *end = strstr(text, "\n--- ");
    return (struct slice){text, end ? (size_t)(end - text) : strlen(text)};
}

void schema_sql_append(struct buffer *sql, const struct config *config, const char *role,
                       const char *section)
{
    struct render render = {sql, config, role};
    struct slice rest = section_of(section);

    for (const char *open; (open = memchr(rest.at, '@', rest.len));) {
        size_t before = (size_t)(open - rest.at);
        size_t len = strspn(open + 1, "abcdefghijklmnopqrstuvwxyz_");

        /* An operator of SQL's. */
        if (len == 0 || open[len + 1] != '@') {
            buffer_append(sql, rest.at, before + 1);
            rest = (struct slice){open + 1, rest.len - before - 1};
            continue;
        }
        buffer_append(sql, rest.at, before);
        append_value(&render, (struct slice){open + 1, len});
        rest = (struct slice){open + len + 2, rest.len - before - len - 2};
    }
    buffer_append(sql, rest.at, rest.len);
}
