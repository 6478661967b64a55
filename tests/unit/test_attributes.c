/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/attribute_columns.h>
#include <apikeyd/model/attributes.h>
#include <apikeyd/model/quota.h>

static void test_the_bytes(void **state)
{
    struct attributes_draft draft = {0};
    struct attributes rest;
    struct attribute attribute = {0};

    (void)state;
    assert_true(attributes_append(&draft, 0, SLICE("gold")));
    assert_true(attributes_append(&draft, 1, SLICE("")));
    assert_true(attributes_append(&draft, 15, SLICE("read write")));
    rest = attributes_of(&draft);
    assert_int_equal(rest.len, strlen("a04goldb00p0aread write"));
    assert_memory_equal(rest.at, "a04goldb00p0aread write", rest.len);
    assert_int_equal(attributes_count(rest), 3);
    assert_true(attributes_take(&rest, &attribute));
    assert_int_equal(attribute.column, 0);
    assert_true(slice_equal(attribute.value, SLICE("gold")));
    assert_true(attributes_take(&rest, &attribute));
    assert_int_equal(attribute.column, 1);
    assert_int_equal(attribute.value.len, 0);
    assert_true(attributes_take(&rest, &attribute));
    assert_int_equal(attribute.column, 15);
    assert_true(slice_equal(attribute.value, SLICE("read write")));
    assert_false(attributes_take(&rest, &attribute));
}

/* Whole values up to both limits, and no byte of one that is beyond. */
static void test_the_limits(void **state)
{
    static const char text[ATTRIBUTE_VALUE_MAX + 1] = "";
    struct attributes_draft draft = {0};
    struct attribute attribute;

    (void)state;
    assert_false(attributes_append(&draft, 0, (struct slice){text, 256}));
    assert_int_equal(draft.len, 0);
    for (unsigned column = 0; column < 4; column++)
        assert_true(attributes_append(&draft, column, (struct slice){text, 255}));
    assert_false(attributes_append(&draft, 4, (struct slice){text, 5}));
    assert_true(attributes_append(&draft, 5, (struct slice){text, 4}));
    assert_true(attributes_append(&draft, 6, (struct slice){text, 0}));
    assert_false(attributes_append(&draft, 7, (struct slice){text, 1}));
    struct attributes rest = attributes_of(&draft);
    for (size_t left = 1024; attributes_take(&rest, &attribute); left -= attribute.value.len)
        assert_true(attribute.value.len <= left);
    assert_int_equal(attributes_count(attributes_of(&draft)), 6);
}

static void test_what_is_parsed(void **state)
{
    static const char *const broken[] = {
        "a",        "a0",   "a01",      "a0gx",     "a0Aaaaaaaaaaa",          "b01xa01x",
        "a01xa01x", "c01x", "A01x",     "a01xy",    "\xff\x30\x30",           "#00",
        "#01x",     "#021", "a01x#011", "#011#012", "#1412345678901234567890"};
    static const char *const fine[] = {
        "", " tag", "a00", "a00 tag", "a01 ", "a01 b02xy tag", "b00", "#010", "#0242a01x tag"};

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct slice text = {broken[i], strlen(broken[i])};
        struct attributes parsed = {"x", 1};

        assert_false(attributes_parse(&text, 2, &parsed));
        assert_int_equal(parsed.len, 1);
        assert_int_equal(text.len, strlen(broken[i]));
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct slice text = {fine[i], strlen(fine[i])};
        struct attributes parsed;

        assert_true(attributes_parse(&text, 2, &parsed));
        assert_ptr_equal(parsed.at + parsed.len, text.at);
        assert_true(text.len == 0 || text.at[0] == ' ');
    }
}

/* It takes no room of the attributes, and is off before they are shown. */
static void test_a_quota_leads(void **state)
{
    static const uint64_t quotas[] = {0, 7, 250000, INT64_MAX};
    static const char value[ATTRIBUTE_VALUE_MAX] = "";
    struct attribute attribute;
    uint64_t quota = 99;

    (void)state;
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        struct attributes_draft draft = {0};

        quota_append(&draft, quotas[i]);
        for (unsigned column = 0; column < 4; column++)
            assert_true(attributes_append(&draft, column, (struct slice){value, 255}));
        assert_true(attributes_append(&draft, 5, (struct slice){value, 4}));
        struct attributes rest = attributes_of(&draft);
        assert_true(quota_leads(rest));
        assert_true(quota_take(&rest, &quota));
        assert_int_equal(quota, quotas[i]);
        assert_true(attributes_take(&rest, &attribute));
        assert_int_equal(attribute.column, 0);
    }
    struct attributes none = {"a01x", 4};
    assert_false(quota_take(&none, &quota));
    assert_int_equal(none.len, 4);
    assert_int_equal(quota, quotas[3]);
}

static void test_more_than_fits_is_not_parsed(void **state)
{
    char text[5 * (255 + 3)];
    struct attributes parsed;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        char *at = text + i * (255 + 3);

        memset(at, 'x', 255 + 3);
        memcpy(at, (char[]){"abcde"[i], 'f', 'f'}, 3);
    }
    struct slice four = {text, sizeof text / 5 * 4}, five = {text, sizeof text};
    assert_true(attributes_parse(&four, 16, &parsed));
    assert_false(attributes_parse(&five, 16, &parsed));
}

static void test_a_copy_is_its_own(void **state)
{
    char text[] = "a01x";
    struct attributes copy = attributes_copy((struct attributes){text, 4});

    (void)state;
    text[3] = 'y';
    assert_memory_equal(copy.at, "a01x", 4);
    attributes_free(&copy);
    assert_int_equal(copy.len, 0);
    copy = attributes_copy((struct attributes){0});
    assert_null(copy.at);
    attributes_free(&copy);
}

static void test_columns(void **state)
{
    struct attribute_columns columns = {0};
    struct buffer text = {0};
    char scratch[256];

    (void)state;
    assert_null(attribute_columns_parse("plan ,rate_limit,x\xc3\xa9Y,\tAPI-Tier9z", &columns,
                                        scratch, sizeof scratch));
    assert_int_equal(columns.len, 4);
    assert_string_equal(columns.column[0].name, "plan");
    assert_string_equal(columns.column[0].field, "Plan");
    assert_string_equal(columns.column[1].field, "Rate-Limit");
    assert_string_equal(columns.column[2].field, "X--Y");
    assert_string_equal(columns.column[3].field, "Api-Tier9z");
    attribute_columns_print(&columns, &text);
    buffer_append(&text, "", 1);
    assert_string_equal(text.data, "plan, rate_limit, x\xc3\xa9Y, API-Tier9z");
    buffer_free(&text);
    assert_null(attribute_columns_parse("", &columns, scratch, sizeof scratch));
    assert_int_equal(columns.len, 0);
}

static void test_columns_that_are_refused(void **state)
{
    static const char name_63[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk";
    static const struct {
        const char *text, *wrong;
    } cases[] = {
        {"a,", "names with commas"},
        {",a", "names with commas"},
        {"a,,b", "names with commas"},
        {" ", "names with commas"},
        {"a\x01", "names with commas"},
        {"\xff", "names with commas"},
        {"plan,plan", "listed twice"},
        {"rate_limit,Rate-Limit", "both X-Api-Key-Rate-Limit"},
        {"id", "something else by that name"},
        {"ID", "something else by that name"},
        {"userId", "something else by that name"},
        {"plan, principalId", "something else by that name"},
        {"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "at most 16"},
    };
    struct attribute_columns columns = {.len = 7};
    char scratch[256], text[80];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *wrong =
            attribute_columns_parse(cases[i].text, &columns, scratch, sizeof scratch);

        assert_non_null(wrong);
        assert_non_null(strstr(wrong, cases[i].wrong));
        assert_int_equal(columns.len, 7);
    }
    snprintf(text, sizeof text, "%sx", name_63);
    assert_non_null(attribute_columns_parse(text, &columns, scratch, sizeof scratch));
    assert_null(attribute_columns_parse(name_63, &columns, scratch, sizeof scratch));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bytes),
        cmocka_unit_test(test_the_limits),
        cmocka_unit_test(test_what_is_parsed),
        cmocka_unit_test(test_a_quota_leads),
        cmocka_unit_test(test_more_than_fits_is_not_parsed),
        cmocka_unit_test(test_a_copy_is_its_own),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_columns_that_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
