/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/pg_clock.h>

#define SERVER INT64_C(1000000000000)

static int64_t at(const struct pg_clock *clock, int64_t server_us, int64_t now_us)
{
    int64_t at_us = -1;

    assert_true(pg_clock_to_monotonic(clock, server_us, now_us, &at_us));
    return at_us;
}

static void test_knows_nothing_at_first(void **state)
{
    struct pg_clock clock = {0};
    int64_t at_us;

    (void)state;
    assert_false(pg_clock_to_monotonic(&clock, SERVER, 0, &at_us));
}

/* The true offset is SERVER; however the round trip was split, nothing is taken for younger. */
static void test_never_makes_a_verdict_younger(void **state)
{
    (void)state;
    for (int64_t way_there = 0; way_there <= 500; way_there += 50) {
        struct pg_clock clock = {0};

        pg_clock_sample(&clock, 1000, 1500, SERVER + 1000 + way_there);
        /* Read at monotonic 2000, judged at 3000. */
        assert_true(at(&clock, SERVER + 2000, 3000) <= 2000);
        /* By an eighth of what it seems to be old at most, and of the sample's age. */
        assert_true(at(&clock, SERVER + 2000, 3000) >= 2000 - 500 - (1500 + 1500) / 8 - 200);
    }
}

/* PostgreSQL's host has its clock slewed by a twelfth, back or forward, and is asked every second:
 * whatever was read at which time seems no younger, however long ago, or, while it is slewed back,
 * cannot be told. */
static void test_a_slewed_clock_makes_nothing_younger(void **state)
{
    const int64_t second = 1000000;

    (void)state;
    for (int64_t rate = -83333; rate <= 83333; rate += 166666) {
        struct pg_clock clock = {0};

        for (int64_t now = 0; now < 100 * second; now += second) {
            int64_t server_us = SERVER + now + now / 1000000 * rate;

            pg_clock_sample(&clock, now - 100, now + 100, server_us);
            for (int64_t read = 0; read <= now; read += 7 * second) {
                int64_t dated_us = SERVER + read + read / 1000000 * rate;

                int64_t at_us;

                if (pg_clock_to_monotonic(&clock, dated_us, now + 900000, &at_us))
                    assert_true(at_us <= read + 100);
                else
                    assert_true(rate < 0);
            }
        }
    }
}

static void test_an_estimate_is_in_the_middle(void **state)
{
    struct pg_clock clock = {0};
    int64_t at_us;

    (void)state;
    assert_false(pg_clock_estimate(&clock, SERVER, &at_us));
    pg_clock_sample(&clock, 1000, 1010, SERVER + 1005);
    assert_true(pg_clock_estimate(&clock, SERVER + 500000, &at_us));
    assert_int_equal(at_us, 500000);
}

static void test_the_best_sample_wins_until_drift_eats_it(void **state)
{
    struct pg_clock clock = {0};

    (void)state;
    pg_clock_sample(&clock, 1000, 1010, SERVER + 1005);
    int64_t best = clock.max_us;
    pg_clock_sample(&clock, 2000, 9000, SERVER + 8000); /* slow: says little */
    assert_int_equal(clock.max_us, best);
    pg_clock_sample(&clock, 10000000, 10000900, SERVER + 10000800); /* 10 s may drift by 1.25 s */
    assert_int_equal(clock.max_us, SERVER + 800);
}

static void test_a_clock_set_forward_is_followed_at_once(void **state)
{
    struct pg_clock clock = {0};

    (void)state;
    pg_clock_sample(&clock, 1000, 1010, SERVER + 1005);
    pg_clock_sample(&clock, 2000, 2010, SERVER + 3600000000 + 2005);
    assert_true(at(&clock, SERVER + 3600000000 + 2005, 3000) <= 2005);
}

static void test_a_time_to_come_is_no_time(void **state)
{
    struct pg_clock clock = {0};
    int64_t at_us;

    (void)state;
    pg_clock_sample(&clock, 1000, 1010, SERVER + 1005);
    /* The sample is 3990 µs old: 498 µs of drift, and 5 µs of its round trip. */
    assert_int_equal(at(&clock, SERVER + 5503, 5000), 5000);
    assert_false(pg_clock_to_monotonic(&clock, SERVER + 5504, 5000, &at_us));
    assert_false(pg_clock_to_monotonic(&clock, SERVER + 999999999, 5000, &at_us));
}

/* What was read at 20 s and dated by the old clock must not pass for something read later. */
static void test_a_clock_set_back_dates_nothing_twice(void **state)
{
    const int64_t step = 7000000;
    const int64_t second = 1000000;
    struct pg_clock clock = {0};
    int64_t at_us;

    (void)state;
    pg_clock_sample(&clock, 20 * second, 20 * second + 100, SERVER + 20 * second + 50);
    assert_true(at(&clock, SERVER + 20 * second, 20 * second + 200) <= 20 * second);
    pg_clock_sample(&clock, 21 * second, 21 * second + 100, SERVER - step + 21 * second + 50);
    for (int64_t now = 22; now < 60; now++)
        assert_false(pg_clock_to_monotonic(&clock, SERVER + 20 * second, now * second, &at_us));
    /* Once it shows times that it has not shown before, they date again. */
    int64_t read_us = 30 * second;
    assert_true(at(&clock, SERVER - step + read_us, 31 * second) <= read_us);
}

/* A step that could be drift, for all that the bounds tell, of this size: */
static void test_a_small_step_back_dates_nothing_twice(void **state)
{
    const int64_t second = 1000000;

    (void)state;
    for (int64_t step = 5000; step < second; step *= 2) {
        struct pg_clock clock = {0};
        int64_t at_us;
        bool told;

        for (int64_t now = 0; now <= 20 * second; now += second)
            pg_clock_sample(&clock, now, now + 100, SERVER + now + 50);
        pg_clock_sample(&clock, 21 * second, 21 * second + 100, SERVER - step + 21 * second + 50);
        /* Read just before the step, dated by the clock of then. */
        told = pg_clock_to_monotonic(&clock, SERVER + 20999900, 21 * second + 200, &at_us);
        assert_true(!told || at_us <= 20999900);
        /* What is dated a second after it, is dated well, and is usable a moment later. */
        pg_clock_sample(&clock, 22 * second, 22 * second + 100, SERVER - step + 22 * second + 50);
        pg_clock_sample(&clock, 23 * second, 23 * second + 100, SERVER - step + 23 * second + 50);
        int64_t read_us = 23 * second + 500000;
        assert_true(at(&clock, SERVER - step + read_us, 24 * second) <= read_us);
    }
}

/* Round trips of many lengths are no step. */
static void test_slow_answers_raise_no_doubt(void **state)
{
    struct pg_clock clock = {0};

    (void)state;
    for (int64_t i = 0; i < 1000; i++) {
        int64_t sent_us = i * 1000000, there_us = i * 7919 % 90000, back_us = i * 104729 % 90000;

        pg_clock_sample(&clock, sent_us, sent_us + there_us + back_us, SERVER + sent_us + there_us);
        assert_int_equal(clock.doubtful_us, 0);
    }
}

static void test_tells_how_far_ahead_it_is(void **state)
{
    struct pg_clock clock = {0};

    (void)state;
    assert_int_equal(pg_clock_sample(&clock, 1000, 1010, SERVER + 1005), 0);
    assert_int_equal(pg_clock_sample(&clock, 2000, 2010, SERVER + 2005), 0);
    int64_t ahead_us = pg_clock_sample(&clock, 3000, 3010, SERVER + 5000000 + 3005);
    assert_true(ahead_us > 4999000 && ahead_us <= 5000000);
    assert_int_equal(pg_clock_sample(&clock, 4000, 4010, SERVER + 5000000 + 4005), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knows_nothing_at_first),
        cmocka_unit_test(test_never_makes_a_verdict_younger),
        cmocka_unit_test(test_a_slewed_clock_makes_nothing_younger),
        cmocka_unit_test(test_an_estimate_is_in_the_middle),
        cmocka_unit_test(test_the_best_sample_wins_until_drift_eats_it),
        cmocka_unit_test(test_a_clock_set_forward_is_followed_at_once),
        cmocka_unit_test(test_a_time_to_come_is_no_time),
        cmocka_unit_test(test_a_clock_set_back_dates_nothing_twice),
        cmocka_unit_test(test_a_small_step_back_dates_nothing_twice),
        cmocka_unit_test(test_slow_answers_raise_no_doubt),
        cmocka_unit_test(test_tells_how_far_ahead_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
