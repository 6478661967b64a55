/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/key_source.h>

static const char *const forms[] = {"header",     "header:NAME",       "bearer",      "basic-user",
                                    "query:NAME", "query:NAME@HEADER", "cookie:NAME", NULL};

static void expect(const char *text, const char *printed)
{
    struct key_sources sources = {0};
    struct buffer out = {0};
    char scratch[256];

    assert_null(key_sources_parse(text, forms, &sources, scratch, sizeof scratch));
    key_sources_print(&sources, &out);
    buffer_append(&out, "", 1);
    assert_string_equal(out.data, printed);
    buffer_free(&out);
}

static void expect_wrong(const char *text, const char *expected)
{
    struct key_sources sources = {.len = 7};
    char scratch[256];
    const char *wrong = key_sources_parse(text, forms, &sources, scratch, sizeof scratch);

    assert_non_null(wrong);
    if (!strstr(wrong, expected))
        fail_msg("%s: %s", text, wrong);
    assert_int_equal(sources.len, 7);
}

static void test_lists(void **state)
{
    (void)state;
    expect("header:X-API-Key", "header:X-API-Key");
    expect(" Bearer ,\tquery:api_key,HEADER:x", "bearer, query:api_key, header:x");
    expect("query:k@X-Original-URI, query:k", "query:k@X-Original-URI, query:k");
    expect("bearer, basic-user", "bearer, basic-user");
    expect("cookie:a, cookie:A", "cookie:a, cookie:A");
    expect("header, header:a", "header, header:a");
    expect("header:a,header:b,header:c,header:d,header:e,header:f,header:g,header:h",
           "header:a, header:b, header:c, header:d, header:e, header:f, header:g, header:h");
}

static void test_what_is_no_list(void **state)
{
    static const char *const unknown[] = {"",         ",",      "bearer,", "bearer:x",  "token",
                                          "bearer x", "cookie", "query",   "header:a@b"};

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        expect_wrong(unknown[i], "it is a list of at most 8 of: header, header:NAME, bearer, "
                                 "basic-user, query:NAME, query:NAME@HEADER, cookie:NAME");
    expect_wrong("header:a,header:b,header:c,header:d,header:e,header:f,header:g,header:h,header:i",
                 "at most 8");
    expect_wrong("header:", "the name of an HTTP header is needed");
    expect_wrong("header:X API Key", "the name of an HTTP header is needed");
    expect_wrong("header:Cl\xc3\xa9", "the name of an HTTP header is needed");
    expect_wrong("cookie:a;b", "the name of a cookie is needed");
    expect_wrong("query:a b", "a parameter of letters");
    expect_wrong("query:a&b", "a parameter of letters");
    expect_wrong("query:a@", "behind an @");
    expect_wrong("query:a@b@c", "behind an @");
}

static void test_sources_that_do_not_go_together(void **state)
{
    (void)state;
    expect_wrong("header:X-Key, header:x-key", "header:x-key is listed twice");
    expect_wrong("bearer, header:a, bearer", "bearer is listed twice");
    expect_wrong("query:a@B, query:a@b", "query:a@b is listed twice");
    expect_wrong("header:authorization, bearer",
                 "header:authorization and bearer read the same field");
    expect_wrong("basic-user, header:Authorization",
                 "basic-user and header:Authorization read the same");
    expect_wrong("cookie:a, header:Cookie", "cookie:a and header:Cookie read the same field");
    expect_wrong("query:a@Cookie, cookie:a", "query:a@Cookie and cookie:a read the same field");
}

/* 127 bytes are taken. */
static void test_long_names(void **state)
{
    char text[300] = "header:";

    (void)state;
    memset(text + 7, 'x', 127);
    expect(text, text);
    text[7 + 127] = 'x';
    expect_wrong(text, "the name of an HTTP header");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_what_is_no_list),
        cmocka_unit_test(test_sources_that_do_not_go_together),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
