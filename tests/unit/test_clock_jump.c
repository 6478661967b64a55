/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/clock/clock_jump.h>

#define SECOND INT64_C(1000000)
#define WALL (INT64_C(1700000000) * SECOND)

static void test_the_first_look_is_no_jump(void **state)
{
    struct clock_jump clocks = {0};

    (void)state;
    assert_int_equal(clock_jump_look(&clocks, 5 * SECOND, WALL), 0);
    assert_int_equal(clock_jump_look(&clocks, 6 * SECOND, WALL + SECOND), 0);
}

static void test_a_pause_and_a_set_clock_are_seen_once(void **state)
{
    struct clock_jump clocks = {0};
    const int64_t by[] = {20 * SECOND, SECOND / 3, -SECOND, -3600 * SECOND};

    (void)state;
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        clocks = (struct clock_jump){0};
        (void)clock_jump_look(&clocks, 5 * SECOND, WALL);
        assert_int_equal(clock_jump_look(&clocks, 5 * SECOND + 10, WALL + 10 + by[i]), by[i]);
        assert_int_equal(clock_jump_look(&clocks, 5 * SECOND + 20, WALL + 20 + by[i]), 0);
    }
}

static void test_what_is_slewed_has_not_jumped(void **state)
{
    (void)state;
    for (int64_t rate = -83333; rate <= 83333; rate += 166666) {
        for (int64_t step = 100; step <= 10 * SECOND; step *= 10) {
            struct clock_jump clocks = {0};

            for (int64_t now = 0; now < 100 * step; now += step)
                assert_int_equal(clock_jump_look(&clocks, now, WALL + now + now / 1000000 * rate),
                                 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_look_is_no_jump),
        cmocka_unit_test(test_a_pause_and_a_set_clock_are_seen_once),
        cmocka_unit_test(test_what_is_slewed_has_not_jumped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
