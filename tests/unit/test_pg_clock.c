/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "apikeyd/pg_clock.h"

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
 * whatever was read at which time seems no younger, however long ago. */
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

                assert_true(at(&clock, dated_us, now + 900000) <= read + 100);
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
    int64_t best = clock.most_us;
    pg_clock_sample(&clock, 2000, 9000, SERVER + 8000); /* slow: says little */
    assert_int_equal(clock.most_us, best);
    pg_clock_sample(&clock, 10000000, 10000900, SERVER + 10000800); /* 10 s may drift by 1.25 s */
    assert_int_equal(clock.most_us, SERVER + 800);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
