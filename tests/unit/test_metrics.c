/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/metrics.h>

static bool has(const struct buffer *text, const char *line)
{
    return memmem(text->data, text->len, line, strlen(line)) != NULL;
}

static void test_sums_are_of_the_checks(void **state)
{
    struct metrics metrics = {0};

    (void)state;
    metrics.value[metric_of_check(VERDICT_ALLOW, TIER_MEMORY)] = 5;
    metrics.value[metric_of_check(VERDICT_ALLOW, TIER_STALE)] = 2;
    metrics.value[metric_of_check(VERDICT_DENY_INACTIVE, TIER_MEMORY)] = 1;
    metrics.value[metric_of_check(VERDICT_DENY_UNKNOWN, TIER_REDIS)] = 3;
    metrics.value[METRIC_CHECKS_MALFORMED] = 4;
    metrics_sum(&metrics);
    metrics_sum(&metrics); /* they do not add up */
    assert_int_equal(metrics.value[METRIC_CHECKS_ALLOW], 7);
    assert_int_equal(metrics.value[METRIC_CHECKS_INACTIVE], 1);
    assert_int_equal(metrics.value[METRIC_CHECKS_UNKNOWN], 7);
    assert_int_equal(metrics.value[METRIC_HITS_MEMORY], 6);
    assert_int_equal(metrics.value[METRIC_HITS_STALE], 2);
}

static void test_each_check_has_a_counter_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(metric_of_check(VERDICT_ALLOW, TIER_POSTGRES), METRIC_ALLOW_POSTGRES);
    assert_int_equal(metric_of_check(VERDICT_DENY_UNKNOWN, TIER_MEMORY), METRIC_UNKNOWN_MEMORY);
    assert_int_equal(metric_of_check(VERDICT_DENY_INACTIVE, TIER_STALE), METRIC_INACTIVE_STALE);
}

static void test_exposition(void **state)
{
    struct metrics metrics = {0};
    struct buffer text = {0};

    (void)state;
    metrics.value[METRIC_ALLOW_MEMORY] = 5;
    metrics.value[METRIC_FEED_ROUND_TRIP] = 1234567;
    histogram_record(&metrics.histogram[HISTOGRAM_CHECK_REDIS], 3, 2);
    histogram_record(&metrics.histogram[HISTOGRAM_REDIS_BATCH], 3, 2);
    metrics_print_exposition(&metrics, &text);
    assert_true(has(&text, "\napikeyd_checks_total{verdict=\"allow\",tier=\"memory\"} 5\n"));
    assert_true(has(&text, "\napikeyd_feed_round_trip_seconds 1.234567\n"));
    assert_true(
        has(&text, "\napikeyd_check_duration_seconds_bucket{tier=\"redis\",le=\"2e-06\"} 0\n"));
    assert_true(
        has(&text, "\napikeyd_check_duration_seconds_bucket{tier=\"redis\",le=\"4e-06\"} 2\n"));
    assert_true(
        has(&text, "\napikeyd_check_duration_seconds_bucket{tier=\"redis\",le=\"+Inf\"} 2\n"));
    assert_true(has(&text, "\napikeyd_check_duration_seconds_sum{tier=\"redis\"} 0.000006\n"));
    assert_true(has(&text, "\napikeyd_redis_batch_keys_bucket{le=\"4\"} 2\n"));
    assert_true(has(&text, "\napikeyd_redis_batch_keys_sum 6\n"));
    assert_true(has(&text, "\nprocess_resident_memory_bytes 0\n"));
    buffer_free(&text);
}

/* For a release monitoring finds a renamed metric under both names. */
static void test_deprecated_names_show_the_same(void **state)
{
    struct metrics metrics = {0};
    struct buffer info = {0}, section = {0}, exposition = {0};

    (void)state;
    metrics.value[METRIC_FEED_LOSSES] = 7;
    metrics_print_exposition(&metrics, &exposition);
    assert_true(has(&exposition, "\napikeyd_feed_losses_total 7\n"));
    assert_true(has(&exposition,
                    "\n# HELP apikeyd_link_losses_total deprecated: apikeyd_feed_losses_total.\n"
                    "# TYPE apikeyd_link_losses_total counter\n"
                    "apikeyd_link_losses_total 7\n"));
    metrics_print_info(&metrics, "", &info);
    assert_true(has(&info, "\r\n# Feed\r\nfeed_up:0\r\nlink_up:0\r\n"));
    assert_true(has(&info, "\r\nfeed_losses:7\r\nlink_losses:7\r\n"));
    metrics_print_info(&metrics, "link", &section);
    assert_true(has(&section, "\r\nfeed_losses:7\r\nlink_losses:7\r\n"));
    assert_false(has(&section, "redis_up"));
    buffer_free(&info);
    buffer_free(&section);
    buffer_free(&exposition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_of_the_checks),
        cmocka_unit_test(test_each_check_has_a_counter_of_its_own),
        cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_deprecated_names_show_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
