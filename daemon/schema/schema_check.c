/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/schema_check.h>

#include <apikeyd/schema/schema_sql.h>

#include "check_sql.h"

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
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_append(&param[i], "", 1);
}

void schema_check_done(struct schema_check *check)
{
    for (int i = 0; i < SCHEMA_CHECK_PARAMS; i++)
        buffer_free(&check->param[i]);
}
