/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/backoff.h>

static void test_doubles_up_to_its_bound(void **state)
{
    struct backoff backoff = {.first_us = 100, .max_us = 400};

    (void)state;
    assert_int_equal(backoff_next(&backoff, UINT32_MAX), 99);
    assert_int_equal(backoff_next(&backoff, UINT32_MAX), 199);
    assert_int_equal(backoff_next(&backoff, UINT32_MAX), 399);
    assert_int_equal(backoff_next(&backoff, UINT32_MAX), 399);
}

static void test_jitter_covers_the_upper_half(void **state)
{
    struct backoff low = {.first_us = 1000, .max_us = 1000};
    struct backoff middle = low;

    (void)state;
    assert_int_equal(backoff_next(&low, 0), 500);
    assert_int_equal(backoff_next(&middle, UINT32_MAX / 2), 749);
}

static void test_starts_over_after_a_reset(void **state)
{
    struct backoff backoff = {.first_us = 100, .max_us = 6400};

    (void)state;
    for (int i = 0; i < 5; i++)
        backoff_next(&backoff, 0);
    backoff_reset(&backoff);
    assert_int_equal(backoff_next(&backoff, 0), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_its_bound),
        cmocka_unit_test(test_jitter_covers_the_upper_half),
        cmocka_unit_test(test_starts_over_after_a_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
