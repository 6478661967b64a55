/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/schema_check.h>

#include <apikeyd/model/row_id.h>
#include <apikeyd/schema/schema_sql.h>

#include "check_sql.h"

/* Each column's name, and the names of the types of which it has to be. */
static void append_types(struct buffer *columns, struct buffer *types, const struct config *config)
{
    static const char *const id_types[] = {
        [ID_UUID] = "uuid", [ID_BIGINT] = "int8 or int4 or int2", [ID_TEXT] = "text or varchar"};
    static const char time_types[] = "timestamptz or timestamp";
    static const char attribute_types[] =
        "text or varchar or bpchar or name or bool or int2 or int4 or int8 or float4 or float8 or "
        "numeric or uuid or json or jsonb or _text or _varchar or an enum";
    const struct {
        const char *column, *types;
    } all[] = {
        {config->postgres_id_column, id_types[config->postgres_id_type]},
        {config->postgres_user_column, id_types[config->postgres_id_type]},
        {config->postgres_successor_of_column, id_types[config->postgres_id_type]},
        {config->postgres_active_column, "bool"},
        {config->postgres_created_column, time_types},
        {config->postgres_not_before_column, time_types},
        {config->postgres_expires_column, time_types},
        {config->postgres_quota_column, "int8 or int4 or int2"},
        {config->postgres_last_used_column, time_types},
        {config->postgres_updated_column, time_types},
    };
    const char *column[SCHEMA_COLUMNS_MAX] = {0}, *type[SCHEMA_COLUMNS_MAX] = {0};
    size_t count = 0;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i].column[0])
            continue;
        column[count] = all[i].column;
        type[count++] = all[i].types;
    }
    for (size_t i = 0; i < config->postgres_attribute_columns.len; i++) {
        column[count] = config->postgres_attribute_columns.column[i].name;
        type[count++] = attribute_types;
    }
    schema_array_append(columns, column);
    schema_array_append(types, type);
}

void schema_check_init(struct schema_check *check, const struct config *config, const char *role)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    *check = (struct schema_check){.sql = (const char *)check_sql};
    struct buffer *param = check->param;
    schema_table_append(&param[0], &param[1], config->postgres_table);
    schema_key_columns(config, columns);
    schema_array_append(&param[2], columns);
    schema_read_columns(config, columns);
    schema_array_append(&param[3], columns);
    schema_written_columns(config, columns);
    schema_array_append(&param[4], columns);
    buffer_text(&param[5], role);
    append_types(&param[6], &param[7], config);
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_append(&param[i], "", 1);
}

void schema_check_done(struct schema_check *check)
{
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_free(&check->param[i]);
}
