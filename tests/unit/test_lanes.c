/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "lanes.h"

static enum lane_step take(struct lanes *lanes, uint64_t relay, int64_t epoch, int64_t number)
{
    struct lane *lane = lanes_find(lanes, relay);

    assert_non_null(lane);
    return lane_take(lane, &(struct feed_entry){.relay = relay, .epoch = epoch, .number = number});
}

static void test_each_relay_has_an_order_of_its_own(void **state)
{
    struct lanes lanes = {0};

    (void)state;
    assert_int_equal(take(&lanes, 1, 1, 5), LANE_BEGINS);
    assert_int_equal(take(&lanes, 2, 3, 8), LANE_BEGINS);
    assert_int_equal(take(&lanes, 1, 1, 6), LANE_NEXT);
    assert_int_equal(take(&lanes, 2, 3, 10), LANE_GAP);
    assert_int_equal(take(&lanes, 2, 3, 11), LANE_NEXT);
    assert_int_equal(take(&lanes, 1, 1, 7), LANE_NEXT);
}

/* Late, twice, or repeated by an attacker. */
static void test_an_old_entry_changes_nothing(void **state)
{
    struct lanes lanes = {0};

    (void)state;
    assert_int_equal(take(&lanes, 1, 2, 5), LANE_BEGINS);
    assert_int_equal(take(&lanes, 1, 2, 5), LANE_OLD);
    assert_int_equal(take(&lanes, 1, 2, 4), LANE_OLD);
    assert_int_equal(take(&lanes, 1, 1, 6), LANE_OLD);
    assert_int_equal(take(&lanes, 1, 2, 6), LANE_NEXT);
    assert_int_equal(take(&lanes, 1, 3, 1), LANE_BEGINS);
    assert_int_equal(take(&lanes, 1, 2, 7), LANE_OLD);
    assert_int_equal(take(&lanes, 1, 3, 2), LANE_NEXT);
}

static void test_lanes_that_count_are_not_pushed_out(void **state)
{
    struct lanes lanes = {0};

    (void)state;
    assert_int_equal(take(&lanes, 1000, 1, 1), LANE_BEGINS);
    lanes_find(&lanes, 1000)->stream.up = true;
    for (uint64_t relay = 1; relay <= 100; relay++)
        assert_int_equal(take(&lanes, relay, 1, 1), LANE_BEGINS);
    assert_int_equal(take(&lanes, 1000, 1, 2), LANE_NEXT);
    assert_int_equal(take(&lanes, 1, 1, 2), LANE_BEGINS); /* it was pushed out */
    for (int i = 0; i < LANES_MAX; i++)
        lanes.lane[i].stream.up = true;
    assert_null(lanes_find(&lanes, 2000));
    assert_int_equal(take(&lanes, 1000, 1, 3), LANE_NEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_relay_has_an_order_of_its_own),
        cmocka_unit_test(test_an_old_entry_changes_nothing),
        cmocka_unit_test(test_lanes_that_count_are_not_pushed_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
