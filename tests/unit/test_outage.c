/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/outage.h>

static void test_begins_once_and_ends_once(void **state)
{
    struct outage outage = {0};
    int64_t lasted_us = -1;

    (void)state;
    assert_false(outage_works(&outage, 50, 10, &lasted_us));
    assert_true(outage_fails(&outage, 100));
    assert_false(outage_fails(&outage, 110));
    assert_false(outage_works(&outage, 120, 10, &lasted_us));
    assert_false(outage_works(&outage, 129, 10, &lasted_us));
    assert_int_equal(lasted_us, -1);
    assert_true(outage_works(&outage, 130, 10, &lasted_us));
    assert_int_equal(lasted_us, 20);
    assert_false(outage_works(&outage, 140, 10, &lasted_us));
    assert_true(outage_fails(&outage, 150));
}

static void test_a_fault_that_returns_is_the_same(void **state)
{
    struct outage outage = {0};
    int64_t lasted_us = -1;

    (void)state;
    assert_true(outage_fails(&outage, 100));
    for (int64_t now_us = 110; now_us < 1000; now_us += 18) {
        assert_false(outage_works(&outage, now_us, 10, &lasted_us));
        assert_false(outage_works(&outage, now_us + 9, 10, &lasted_us));
        assert_false(outage_fails(&outage, now_us + 10));
    }
    assert_false(outage_works(&outage, 2000, 10, &lasted_us));
    assert_true(outage_works(&outage, 2010, 10, &lasted_us));
    assert_int_equal(lasted_us, 1900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_once_and_ends_once),
        cmocka_unit_test(test_a_fault_that_returns_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
