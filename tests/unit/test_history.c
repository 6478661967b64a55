/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/observe/history.h>

static const int64_t second_us = 1000000;

static int setup(void **state)
{
    *state = history_new();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    history_free(*state);
    return 0;
}

static int64_t figure(const struct history *history, int64_t number, enum history_figure figure)
{
    const struct history_step *step = history_at(history, number);

    assert_non_null(step);
    return step->figure[figure];
}

/* `times` ALLOWs from memory that took so long. */
static void allow(struct metrics *metrics, uint64_t times, int64_t us)
{
    metrics->value[METRIC_ALLOW_MEMORY] += times;
    histogram_record(&metrics->histogram[HISTOGRAM_CHECK_MEMORY], us, times);
    metrics_sum(metrics);
}

static void test_samples_add_up_in_their_step(void **state)
{
    struct history *history = *state;
    struct metrics total = {0};

    assert_int_equal(history_end(history), 0);
    assert_null(history_at(history, 0));
    allow(&total, 5, 8);
    total.value[METRIC_UNKNOWN_POSTGRES] = 2;
    total.value[METRIC_INACTIVE_REDIS] = 3;
    total.value[METRIC_CHECKS_UNAVAILABLE] = 4;
    metrics_sum(&total);
    history_add(history, 1 * second_us, &total);
    allow(&total, 6, 8);
    history_add(history, 9 * second_us, &total);
    allow(&total, 7, 8);
    history_add(history, 10 * second_us, &total);
    assert_int_equal(history_begin(history), 0);
    assert_int_equal(history_end(history), 2);
    assert_int_equal(figure(history, 0, HISTORY_COVERED_US), 9 * second_us);
    assert_int_equal(figure(history, 0, HISTORY_ALLOW), 11);
    assert_int_equal(figure(history, 0, HISTORY_DENY_UNKNOWN), 2);
    assert_int_equal(figure(history, 0, HISTORY_DENY_INACTIVE), 3);
    assert_int_equal(figure(history, 0, HISTORY_UNAVAILABLE), 4);
    assert_int_equal(figure(history, 0, HISTORY_FROM_MEMORY), 11);
    assert_int_equal(figure(history, 1, HISTORY_ALLOW), 7);
    assert_int_equal(figure(history, 1, HISTORY_COVERED_US), 1 * second_us);
    assert_int_equal(figure(history, 1, HISTORY_UNAVAILABLE), 0);
    assert_null(history_at(history, 2));
    assert_null(history_at(history, -1));
}

static void test_quantiles_are_those_of_the_step(void **state)
{
    struct history *history = *state;
    struct metrics total = {0};

    history_add(history, 1 * second_us, &total);
    assert_int_equal(figure(history, 0, HISTORY_P50_US), -1);
    assert_int_equal(figure(history, 0, HISTORY_LAG_P99_US), -1);
    allow(&total, 90, 8);
    history_add(history, 2 * second_us, &total);
    histogram_record(&total.histogram[HISTOGRAM_CHECK_POSTGRES], 4096, 10);
    histogram_record(&total.histogram[HISTOGRAM_REVOCATION_LAG_US], 1024, 1);
    history_add(history, 3 * second_us, &total);
    assert_in_range(figure(history, 0, HISTORY_P50_US), 5, 8);
    assert_in_range(figure(history, 0, HISTORY_P99_US), 2049, 4096);
    assert_in_range(figure(history, 0, HISTORY_LAG_P99_US), 513, 1024);
    /* The next step begins anew. */
    allow(&total, 1, 64);
    history_add(history, 11 * second_us, &total);
    assert_in_range(figure(history, 1, HISTORY_P50_US), 33, 64);
    assert_in_range(figure(history, 1, HISTORY_P99_US), 33, 64);
    assert_int_equal(figure(history, 1, HISTORY_LAG_P99_US), -1);
}

static void test_pending_usage_is_the_maximum_of_the_samples(void **state)
{
    struct history *history = *state;
    struct metrics total = {0};

    for (int i = 0; i < 3; i++) {
        total.value[METRIC_USAGE_PENDING] = (uint64_t[]){3, 9, 1}[i];
        history_add(history, (1 + i) * second_us, &total);
    }
    assert_int_equal(figure(history, 0, HISTORY_USAGE_PENDING), 9);
    history_add(history, 12 * second_us, &total);
    assert_int_equal(figure(history, 1, HISTORY_USAGE_PENDING), 1);
}

/* What was counted while nobody looked is in the step after the gap, and so is its time. */
static void test_a_step_without_a_sample_is_a_gap(void **state)
{
    struct history *history = *state;
    struct metrics total = {0};

    allow(&total, 1, 8);
    history_add(history, 5 * second_us, &total);
    allow(&total, 350, 8);
    history_add(history, 40 * second_us, &total);
    assert_int_equal(history_end(history), 5);
    assert_int_equal(figure(history, 0, HISTORY_ALLOW), 1);
    for (int64_t number = 1; number < 4; number++)
        assert_null(history_at(history, number));
    assert_int_equal(figure(history, 4, HISTORY_ALLOW), 350);
    assert_int_equal(figure(history, 4, HISTORY_COVERED_US), 35 * second_us);
}

static void test_an_hour_is_held(void **state)
{
    struct history *history = *state;
    struct metrics total = {0};
    int64_t last = HISTORY_STEPS + 40;

    for (int64_t number = 0; number <= last; number++) {
        allow(&total, (uint64_t)number, 8);
        history_add(history, number * 10 * second_us, &total);
    }
    assert_int_equal(history_end(history), last + 1);
    assert_int_equal(history_begin(history), 41);
    assert_null(history_at(history, 40));
    for (int64_t number = 41; number <= last; number++)
        assert_int_equal(figure(history, number, HISTORY_ALLOW), number);
    /* After two hours of standing still, no step of before is taken for one of the last hour. */
    history_add(history, (last + 2 * HISTORY_STEPS + 7) * 10 * second_us, &total);
    for (int64_t number = history_begin(history); number < history_end(history) - 1; number++)
        assert_null(history_at(history, number));
    assert_int_equal(figure(history, history_end(history) - 1, HISTORY_ALLOW), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_samples_add_up_in_their_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quantiles_are_those_of_the_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pending_usage_is_the_maximum_of_the_samples, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_step_without_a_sample_is_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_hour_is_held, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
