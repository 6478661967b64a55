/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/freshness.h>
#include <apikeyd/model/pg_reading.h>

#define SERVER INT64_C(1790000000000000)
#define SECOND INT64_C(1000000)

static void test_knows_nothing_at_first(void **state)
{
    struct pg_reading reading = {0};

    (void)state;
    assert_int_equal(pg_reading_latest(&reading, 5), INT64_MAX);
    assert_int_equal(pg_reading_earliest(&reading, 5), INT64_MIN);
}

/* PostgreSQL's clock runs faster or slower by what clocks do, and is asked each second, mostly by
 * queries that take long: the truth stays within bounds that stay close. */
static void test_the_truth_is_within_close_bounds(void **state)
{
    (void)state;
    for (int64_t ppm = -900; ppm <= 900; ppm += 300) {
        struct pg_reading reading = {0};

        for (int64_t now = 0; now < 100 * SECOND; now += SECOND) {
            int64_t took = now % (10 * SECOND) == 0 ? 1000 : 300000;
            int64_t server = SERVER + now + now / SECOND * ppm;

            pg_reading_sample(&reading, now - took / 2, now + took / 2, server);
            for (int64_t at = now + took; at < now + SECOND; at += SECOND / 10) {
                int64_t truth = SERVER + at + at / SECOND * ppm + at % SECOND * ppm / SECOND;

                assert_true(pg_reading_earliest(&reading, at) <= truth);
                assert_true(pg_reading_latest(&reading, at) >= truth);
                /* A thousandth of ten seconds on either side, what the drift itself is, and the
                 * round trip. */
                assert_true(pg_reading_latest(&reading, at) - pg_reading_earliest(&reading, at) <=
                            2 * 10000 + 2 * 9000 + 1000);
            }
        }
    }
}

/* A clock that was set is known by the next answer. */
static void test_a_step_counts_from_the_next_answer(void **state)
{
    (void)state;
    for (int64_t step = -3600 * SECOND; step <= 3600 * SECOND; step += 7200 * SECOND) {
        struct pg_reading reading = {0};

        assert_true(pg_reading_sample(&reading, 0, 1000, SERVER + 500));
        assert_false(pg_reading_sample(&reading, 100000, 101000, SERVER + 100500));
        assert_true(pg_reading_sample(&reading, 2 * SECOND, 2 * SECOND + 1000,
                                      SERVER + 2 * SECOND + 500 + step));
        assert_int_equal(pg_reading_latest(&reading, 2 * SECOND + 1000),
                         SERVER + 2 * SECOND + 1500 + step);
        assert_int_equal(pg_reading_earliest(&reading, 2 * SECOND + 1000),
                         SERVER + 2 * SECOND + 500 + step);
    }
}

/* A clock is slewed by a twelfth, either way: until that is noticed by a second's worth, then the
 * truth is within bounds. */
static void test_a_slewed_clock_is_within_wide_bounds(void **state)
{
    (void)state;
    for (int64_t ppm = -83333; ppm <= 83333; ppm += 166666) {
        struct pg_reading reading = {0};

        for (int64_t now = 0; now < 60 * SECOND; now += SECOND) {
            pg_reading_sample(&reading, now - 500, now + 500, SERVER + now + now / SECOND * ppm);
            for (int64_t at = now + 500; at < now + SECOND && now > 0; at += SECOND / 10) {
                int64_t truth = SERVER + at + at / 1000 * ppm / 1000;

                assert_true(pg_reading_earliest(&reading, at) <= truth);
                assert_true(pg_reading_latest(&reading, at) >= truth);
            }
        }
        /* Ten seconds after it has ended they are close again. */
        for (int64_t now = 60 * SECOND; now <= 75 * SECOND; now += SECOND)
            pg_reading_sample(&reading, now - 500, now + 500, SERVER + now + 60 * ppm);
        int64_t at = 76 * SECOND;
        assert_true(pg_reading_latest(&reading, at) - pg_reading_earliest(&reading, at) <= 4000);
    }
}

/* An hour without an answer: a thousandth of it is in doubt. */
static void test_doubt_grows(void **state)
{
    struct pg_reading reading = {0};
    const int64_t later = 3600 * SECOND;

    (void)state;
    pg_reading_sample(&reading, 0, 0, SERVER);
    assert_int_equal(pg_reading_latest(&reading, later), SERVER + later + later / 1000);
    assert_int_equal(pg_reading_earliest(&reading, later), SERVER + later - later / 1000);
}

static enum verdict_kind kind_at(int64_t earliest_us, int64_t latest_us, struct key_window window)
{
    struct freshness_limits limits = {.pg_earliest_us = earliest_us, .pg_latest_us = latest_us};

    return freshness_kind(&limits, VERDICT_ALLOW, &window);
}

static void test_a_window_is_half_open(void **state)
{
    const struct key_window window = {100, 200};

    (void)state;
    assert_int_equal(kind_at(99, 99, window), VERDICT_DENY_EARLY);
    assert_int_equal(kind_at(100, 100, window), VERDICT_ALLOW);
    assert_int_equal(kind_at(199, 199, window), VERDICT_ALLOW);
    assert_int_equal(kind_at(200, 200, window), VERDICT_DENY_EXPIRED);
    /* When in doubt it is closed. */
    assert_int_equal(kind_at(99, 101, window), VERDICT_DENY_EARLY);
    assert_int_equal(kind_at(199, 201, window), VERDICT_DENY_EXPIRED);
    /* Half a window, none, and one that is never open. */
    assert_int_equal(kind_at(1, 1, (struct key_window){0, 2}), VERDICT_ALLOW);
    assert_int_equal(kind_at(2, 2, (struct key_window){0, 2}), VERDICT_DENY_EXPIRED);
    assert_int_equal(kind_at(2, 2, (struct key_window){2, 0}), VERDICT_ALLOW);
    assert_int_equal(kind_at(INT64_MIN, INT64_MAX, (struct key_window){0, 0}), VERDICT_ALLOW);
    for (int64_t now = 90; now < 120; now++)
        assert_int_not_equal(kind_at(now, now, (struct key_window){110, 100}), VERDICT_ALLOW);
    assert_int_equal(kind_at(INT64_MIN, INT64_MAX, window), VERDICT_UNAVAILABLE);
}

static void test_the_window_of_several_rows(void **state)
{
    struct key_window both = key_window_both((struct key_window){5, 0}, (struct key_window){3, 9});

    (void)state;
    assert_int_equal(both.start_us, 5);
    assert_int_equal(both.end_us, 9);
    both = key_window_both((struct key_window){0, 7}, (struct key_window){0, 0});
    assert_int_equal(both.end_us, 7);
    assert_true(key_window_empty(&(struct key_window){5, 5}));
    assert_false(key_window_empty(&(struct key_window){5, 0}));
    assert_false(key_window_empty(&(struct key_window){0, 5}));
}

/* A machine that stood still knows PostgreSQL's clock no more, on whichever thread that is seen
 * first; a clock that was set back tells nothing about that. */
static void test_a_pause_makes_the_clock_unknown(void **state)
{
    static const struct freshness_policy policy = {.ttl_us = 1000};
    struct freshness back, front;

    (void)state;
    freshness_init(&back, &policy);
    freshness_init(&front, &policy);
    assert_true(freshness_clock_read(&back, 10, 20, SERVER));
    freshness_follow(&front, &back.inputs);
    freshness_tick(&front, 30);
    assert_true(freshness_knows_clock(&front.limits));
    freshness_clocks_jumped(&front, 35, -1000);
    assert_true(freshness_knows_clock(&front.limits));
    freshness_clocks_jumped(&front, 40, 1000);
    assert_false(freshness_knows_clock(&front.limits));
    freshness_follow(&front, &back.inputs); /* sent before the back thread has heard of it */
    assert_false(freshness_knows_clock(&front.limits));
    assert_false(freshness_clock_read(&back, 10, 20, SERVER)); /* no news */
    freshness_clocks_jumped(&back, 40, 1000);
    assert_false(freshness_clock_read(&back, 39, 41, SERVER)); /* sent before the pause */
    assert_false(freshness_knows_clock(&back.limits));
    assert_true(freshness_clock_read(&back, 42, 43, SERVER));
    freshness_follow(&front, &back.inputs);
    assert_true(freshness_knows_clock(&front.limits));
    freshness_done(&front);
    freshness_done(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knows_nothing_at_first),
        cmocka_unit_test(test_the_truth_is_within_close_bounds),
        cmocka_unit_test(test_a_step_counts_from_the_next_answer),
        cmocka_unit_test(test_a_slewed_clock_is_within_wide_bounds),
        cmocka_unit_test(test_doubt_grows),
        cmocka_unit_test(test_a_window_is_half_open),
        cmocka_unit_test(test_the_window_of_several_rows),
        cmocka_unit_test(test_a_pause_makes_the_clock_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
