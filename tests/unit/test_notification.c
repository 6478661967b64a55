/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/notification.h>

#define HEX "00112233445566778899aabbccddeeff"

static bool parse(const char *text, struct notification *ret)
{
    return notification_parse((struct slice){text, strlen(text)}, ret);
}

static void test_a_key(void **state)
{
    struct notification found = {0};
    char hex[DIGEST_HEX_SIZE];

    (void)state;
    assert_true(parse(HEX " 1795404331990069", &found));
    assert_false(found.all);
    assert_int_equal(found.server_us, 1795404331990069);
    digest_to_hex(&found.digest, hex);
    assert_string_equal(hex, HEX);
    assert_true(parse(HEX, &found));
    assert_int_equal(found.server_us, 0);
}

static void test_any_key(void **state)
{
    struct notification found = {0};

    (void)state;
    assert_true(parse("* 17", &found));
    assert_true(found.all);
    assert_int_equal(found.server_us, 17);
    assert_true(parse("*", &found));
    assert_true(found.all);
}

static void test_anything_else(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "**",
        "* ",
        "* -1",
        "*1",
        "* 1234567890123456789",
        "00112233445566778899aabbccddeef",
        "00112233445566778899AABBCCDDEEFF",
        "00112233445566778899aabbccddeefg 1",
        HEX "1",
        HEX " ",
        HEX " 1 ",
        HEX " x",
        "a-raw-key",
    };
    struct notification found = {.server_us = 7};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(parse(texts[i], &found));
    assert_int_equal(found.server_us, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key),
        cmocka_unit_test(test_any_key),
        cmocka_unit_test(test_anything_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
