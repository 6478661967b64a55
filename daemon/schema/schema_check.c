/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/schema_check.h>

#include <apikeyd/schema/schema_sql.h>

#include "check_sql.h"

/* Options, their columns, and the types that fit (pg_type.typname). See "The table" in the
 * reference. */
static void append_types(struct buffer *param, const struct config *config)
{
    static const char *const ids[] = {
        [ID_UUID] = "uuid", [ID_BIGINT] = "int8, int4, int2", [ID_TEXT] = "text, varchar"};
    static const char time[] = "timestamptz, timestamp";
    const char *id = ids[config->postgres_id_type];
    const char *const options[SCHEMA_COLUMNS_MAX] = {
        "postgres.id_column", "postgres.user_column", "postgres.active_column",
        "postgres.created_column", "postgres.last_used_column"};
    const char *const columns[SCHEMA_COLUMNS_MAX] = {
        config->postgres_id_column, config->postgres_user_column, config->postgres_active_column,
        config->postgres_created_column, config->postgres_last_used_column};
    const char *const types[SCHEMA_COLUMNS_MAX] = {id, id, "bool", time, time};

    schema_array_append(&param[0], options);
    schema_array_append(&param[1], columns);
    schema_array_append(&param[2], types);
}

void schema_check_init(struct schema_check *check, const struct config *config, const char *role)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    *check = (struct schema_check){.sql = (const char *)check_sql};
    struct buffer *param = check->param;
    schema_table_append(&param[0], &param[1], config);
    schema_key_columns(config, columns);
    schema_array_append(&param[2], columns);
    schema_read_columns(config, columns);
    schema_array_append(&param[3], columns);
    schema_written_columns(config, columns);
    schema_array_append(&param[4], columns);
    buffer_text(&param[5], role);
    append_types(&param[6], config);
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_append(&param[i], "", 1);
}

void schema_check_done(struct schema_check *check)
{
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_free(&check->param[i]);
}
