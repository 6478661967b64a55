/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/histogram.h>

static void test_buckets_end_at_powers_of_two(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(1), 0);
    assert_int_equal(histogram_bucket(2), 1);
    assert_int_equal(histogram_bucket(3), 2);
    assert_int_equal(histogram_bucket(4), 2);
    assert_int_equal(histogram_bucket(5), 3);
    assert_int_equal(histogram_bucket(1 << 23), 23);
    assert_int_equal(histogram_bucket((1 << 23) + 1), 24);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_what_is_recorded_is_counted_and_summed(void **state)
{
    struct histogram histogram = {0};

    (void)state;
    histogram_record(&histogram, 3, 5);
    histogram_record(&histogram, 100, 1);
    histogram_record(&histogram, -7, 1); /* a clock was set back */
    assert_int_equal(histogram_count(&histogram), 7);
    assert_int_equal(histogram.sum, 115);
    assert_int_equal(histogram.bucket[0], 1);
    assert_int_equal(histogram.bucket[2], 5);
    assert_int_equal(histogram.bucket[7], 1);
}

static void test_quantiles_lie_in_their_bucket(void **state)
{
    struct histogram histogram = {0};

    (void)state;
    assert_true(histogram_quantile(&histogram, 0.5) < 0);
    histogram_record(&histogram, 10, 98); /* 8 to 16 */
    histogram_record(&histogram, 900, 2); /* 512 to 1024 */
    assert_true(histogram_quantile(&histogram, 0.5) > 8);
    assert_true(histogram_quantile(&histogram, 0.5) <= 16);
    assert_true(histogram_quantile(&histogram, 0.99) > 512);
    assert_true(histogram_quantile(&histogram, 0.99) <= 1024);
    histogram_record(&histogram, INT64_MAX, 1000);
    assert_true(histogram_quantile(&histogram, 0.99) == 1 << 23);
}

static void test_a_first_bucket_reaches_from_0_to_1(void **state)
{
    struct histogram histogram = {0};

    (void)state;
    histogram_record(&histogram, 1, 4);
    assert_true(histogram_quantile(&histogram, 0.5) == 0.5);
    assert_true(histogram_quantile(&histogram, 1) == 1);
}

static void test_a_difference_is_what_came_in_between(void **state)
{
    struct histogram before = {0};
    struct histogram after = {0};

    (void)state;
    histogram_record(&before, 5, 3);
    histogram_add(&after, &before);
    histogram_record(&after, 70, 2);
    histogram_subtract(&after, &before);
    assert_int_equal(histogram_count(&after), 2);
    assert_int_equal(after.sum, 140);
    assert_int_equal(after.bucket[7], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_end_at_powers_of_two),
        cmocka_unit_test(test_what_is_recorded_is_counted_and_summed),
        cmocka_unit_test(test_quantiles_lie_in_their_bucket),
        cmocka_unit_test(test_a_first_bucket_reaches_from_0_to_1),
        cmocka_unit_test(test_a_difference_is_what_came_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
