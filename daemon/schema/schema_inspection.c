/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/schema_inspection.h>

#include <apikeyd/schema/schema_sql.h>

#include "inspection_sql.h"
#include "schema_functions.h"

void schema_inspection_init(struct schema_inspection *inspection, const struct config *config)
{
    const char *columns[SCHEMA_COLUMNS_MAX];

    *inspection = (struct schema_inspection){.sql = (const char *)inspection_sql};
    struct buffer *param = inspection->param;
    schema_table_append(&param[0], &param[1], config->postgres_table);
    schema_key_columns(config, columns);
    schema_array_append(&param[2], columns);
    schema_verdict_columns(config, columns);
    schema_array_append(&param[3], columns);
    buffer_text(&param[4], NOTIFY_FUNCTION_SHA256);
    buffer_text(&param[5], NOTE_FUNCTION_SHA256);
    buffer_text(&param[6], LACKS_FUNCTION_SHA256);
    for (int i = 0; i < SCHEMA_INSPECTION_PARAMS; i++)
        buffer_append(&param[i], "", 1);
}

void schema_inspection_done(struct schema_inspection *inspection)
{
    for (int i = 0; i < SCHEMA_INSPECTION_PARAMS; i++)
        buffer_free(&inspection->param[i]);
}
