/* SPDX-License-Identifier: MIT */
#include <apikeyd/schema/usage_check.h>

#include <inttypes.h>
#include <string.h>

#include <apikeyd/schema/schema_sql.h>
#include <apikeyd/schema/usage_names.h>

#include "usage_check_sql.h"

void usage_check_init(struct usage_check *check, const struct config *config, const char *role)
{
    static const char *const id_types[] = {
        [ID_UUID] = "uuid", [ID_BIGINT] = "int8", [ID_TEXT] = "text or varchar"};
    bool drops = config->usage_deleted_keys == USAGE_DELETED_KEYS_DROP;

    *check = (struct usage_check){.sql = (const char *)usage_check_sql};
    struct buffer *param = check->param;
    schema_table_append(&param[0], &param[1], config->postgres_usage_table);
    schema_table_append(&param[2], &param[3], config->postgres_ledger_table);
    schema_table_append(&param[4], &param[5], config->postgres_table);
    buffer_text(&param[6], id_types[config->postgres_id_type]);
    buffer_text(&param[7], role);
    buffer_text(&param[8], drops ? "drop" : "keep");
    buffer_printf(&param[9], "%" PRId64, config->usage_retention / 1000000);
    usage_stem_append(&param[10], config, USAGE_MAINTAIN);
    usage_stem_append(&param[11], config, USAGE_DAILY);
    for (int i = 0; i < USAGE_CHECK_PARAMS; i++)
        buffer_append(&param[i], "", 1);
}

void usage_check_done(struct usage_check *check)
{
    for (int i = 0; i < USAGE_CHECK_PARAMS; i++)
        buffer_free(&check->param[i]);
}
