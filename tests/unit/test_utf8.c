/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/utf8.h>

static void test_takes_text(void **state)
{
    (void)state;
    assert_true(utf8_valid_text(SLICE("")));
    assert_true(utf8_valid_text(SLICE("aws-api-gateway-key-00000001")));
    assert_true(utf8_valid_text(SLICE("caf\xc3\xa9 %s \x27\x22")));
    assert_true(utf8_valid_text(SLICE("\xe2\x82\xac\xf0\x9f\x94\x91")));
    assert_true(utf8_valid_text(SLICE("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf")));
}

static void test_refuses_what_postgres_refuses(void **state)
{
    (void)state;
    assert_false(utf8_valid_text(SLICE("a\0b")));             /* NUL */
    assert_false(utf8_valid_text(SLICE("\x80")));             /* stray continuation */
    assert_false(utf8_valid_text(SLICE("\xc0\xaf")));         /* overlong */
    assert_false(utf8_valid_text(SLICE("\xe0\x80\xaf")));     /* overlong */
    assert_false(utf8_valid_text(SLICE("\xed\xa0\x80")));     /* surrogate */
    assert_false(utf8_valid_text(SLICE("\xf4\x90\x80\x80"))); /* beyond U+10FFFF */
    assert_false(utf8_valid_text(SLICE("\xf5\x80\x80\x80")));
    assert_false(utf8_valid_text(SLICE("ok\xe2\x82"))); /* cut short */
    assert_false(utf8_valid_text(SLICE("\xe2\x28\xa1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_text),
        cmocka_unit_test(test_refuses_what_postgres_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
