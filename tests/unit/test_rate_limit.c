/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/rate_limit.h>

enum { SECOND = 1000000 };

static void test_no_second_has_more(void **state)
{
    struct rate_limit limit = {.next = 0};
    int64_t wait_us = -1;

    (void)state;
    assert_true(rate_limit_take(&limit, 2, 5, &wait_us));
    assert_true(rate_limit_take(&limit, 2, 700005, &wait_us));
    assert_int_equal(wait_us, -1);
    assert_false(rate_limit_take(&limit, 2, 900005, &wait_us));
    assert_int_equal(wait_us, 100000);
    /* The second from the last event on, too: no fixed seconds. */
    assert_true(rate_limit_take(&limit, 2, SECOND + 5, &wait_us));
    assert_false(rate_limit_take(&limit, 2, SECOND + 6, &wait_us));
    assert_int_equal(wait_us, 699999);
}

static void test_the_limit_may_change(void **state)
{
    struct rate_limit limit = {.next = 0};
    int64_t wait_us;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(rate_limit_take(&limit, 5, 10 + i, &wait_us));
    assert_false(rate_limit_take(&limit, 1, 20, &wait_us));
    assert_int_equal(wait_us, SECOND - 6);
    assert_true(rate_limit_take(&limit, 6, 20, &wait_us));
}

static void test_the_whole_ring(void **state)
{
    struct rate_limit limit = {.next = 0};
    int64_t wait_us;

    (void)state;
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < RATE_LIMIT_MAX; i++)
            assert_true(rate_limit_take(&limit, RATE_LIMIT_MAX, (int64_t)round * SECOND, &wait_us));
        assert_false(rate_limit_take(&limit, RATE_LIMIT_MAX, (int64_t)round * SECOND, &wait_us));
        assert_int_equal(wait_us, SECOND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_second_has_more),
        cmocka_unit_test(test_the_limit_may_change),
        cmocka_unit_test(test_the_whole_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
