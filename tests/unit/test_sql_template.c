/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/sql_name.h>
#include <apikeyd/config/sql_template.h>

static void expect(struct buffer *sql, const char *text)
{
    buffer_append(sql, "", 1);
    assert_string_equal(sql->data, text);
    buffer_free(sql);
    *sql = (struct buffer){0};
}

/* Whatever stands in a name ends neither the name nor the statement. */
static void test_names_are_quoted(void **state)
{
    struct buffer sql = {0};

    (void)state;
    sql_table_append(&sql, "api.user_api_key");
    expect(&sql, "\"api\".\"user_api_key\"");
    sql_table_append(&sql, "select");
    expect(&sql, "\"public\".\"select\"");
    sql_table_append(&sql, "a\"; DROP TABLE b --.\"\"");
    expect(&sql, "\"a\"\"; DROP TABLE b --\".\"\"\"\"\"\"");
    sql_column_append(&sql, "it's \\ \"Ä\"");
    expect(&sql, "\"it's \\ \"\"Ä\"\"\"");
    sql_literal_append(&sql, "it's \\ \"Ä\"");
    expect(&sql, "E'it''s \\\\ \"Ä\"'");
}

/* What a name holds is no part of the template. */
static void test_a_template_gets_the_names(void **state)
{
    const struct config config = {
        .postgres_table = "s.t'",
        .postgres_key_column = "{id}",
        .postgres_id_column = "%s",
        .postgres_timestamp_zone = "UTC",
    };
    struct buffer sql = {0};

    (void)state;
    sql_template(&sql, &config, "SELECT {key}, t.{id} FROM {table} AS t");
    sql_template(&sql, &config, ", {table_text}::regclass, {zone}");
    sql_template(&sql, &config, "");
    expect(&sql, "SELECT \"{id}\", t.\"%s\" FROM \"s\".\"t'\" AS t, "
                 "E'\"s\".\"t''\"'::regclass, E'UTC'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_quoted),
        cmocka_unit_test(test_a_template_gets_the_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
