/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "notification_rate.h"

#define SECOND NOTIFICATION_INTERVAL_US

static void test_keys_up_to_a_rate(void **state)
{
    struct notification_rate rate;
    int64_t due_us = 0;

    (void)state;
    notification_rate_init(&rate);
    for (int i = 0; i < NOTIFICATIONS_MAX; i++)
        assert_true(notification_rate_take(&rate, false, 5 * SECOND, &due_us));
    assert_false(notification_rate_take(&rate, false, 5 * SECOND, &due_us));
    assert_int_equal(due_us, 5 * SECOND); /* nothing was cleared of late: at once */
    notification_rate_cleared(&rate, 5 * SECOND);
    assert_false(notification_rate_take(&rate, false, 5 * SECOND + 10, &due_us));
    assert_int_equal(due_us, 6 * SECOND);
    assert_true(notification_rate_take(&rate, false, 6 * SECOND, &due_us));
}

static void test_everything_once_a_second(void **state)
{
    struct notification_rate rate;
    int64_t due_us = 0;

    (void)state;
    notification_rate_init(&rate);
    assert_true(notification_rate_take(&rate, true, 10, &due_us));
    notification_rate_cleared(&rate, 10);
    assert_false(notification_rate_take(&rate, true, 20, &due_us));
    assert_int_equal(due_us, 10 + SECOND);
    assert_true(notification_rate_take(&rate, true, 10 + SECOND, &due_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_up_to_a_rate),
        cmocka_unit_test(test_everything_once_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
