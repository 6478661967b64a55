/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "pg_age.h"

enum { FEED, LOOKUP, USAGE, SESSIONS };

static const int64_t max_us = 1600;

static struct config config;
static struct back_env env;
static struct pg_session sessions[SESSIONS];

/* All are up since 1000, 1001 and 1002. */
static int begin(void **state)
{
    (void)state;
    config = (struct config){.postgres_max_age = max_us};
    env = (struct back_env){.config = &config};
    TAILQ_INIT(&env.sessions);
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = (struct pg_session){.env = &env, .rank = (enum pg_rank)i, .dsn = ""};
        pg_session_add(&sessions[i]);
        sessions[i].up = true;
        sessions[i].up_us = 1000 + i;
    }
    return 0;
}

static void test_the_lot_decides_within_its_span(void **state)
{
    (void)state;
    assert_int_equal(pg_age_renewed_us(max_us, 0), 800);
    assert_int_equal(pg_age_renewed_us(max_us, UINT32_MAX / 2), 999);
    assert_int_equal(pg_age_renewed_us(max_us, UINT32_MAX), 1200);
    assert_int_equal(pg_age_end_us(max_us, 0), 1400);
    assert_int_equal(pg_age_end_us(max_us, UINT32_MAX), max_us);
    /* A year. */
    assert_int_equal(pg_age_end_us(INT64_C(31622400000000), UINT32_MAX), INT64_C(31622400000000));
}

static void test_one_is_renewed_at_a_time(void **state)
{
    (void)state;
    assert_null(pg_ages_due(&env, 1799).renews);
    assert_ptr_equal(pg_ages_due(&env, 1800).renews, &sessions[FEED]);
    assert_null(pg_ages_due(&env, 1802).ends);
    assert_ptr_equal(pg_ages_due(&env, 1802).renews, &sessions[FEED]);
    sessions[FEED].renewing = true;
    assert_null(pg_ages_due(&env, 1802).renews);
    sessions[FEED].renewing = false;
    sessions[FEED].renew_at_us = 1900; /* it failed */
    assert_ptr_equal(pg_ages_due(&env, 1802).renews, &sessions[LOOKUP]);
    sessions[LOOKUP].up = false;
    assert_ptr_equal(pg_ages_due(&env, 1802).renews, &sessions[USAGE]);
}

static void test_the_oldest_ends(void **state)
{
    (void)state;
    assert_ptr_equal(pg_ages_due(&env, 2402).ends, &sessions[FEED]);
    assert_null(pg_ages_due(&env, 2402).renews); /* too late for that */
    sessions[FEED].up = false;
    assert_ptr_equal(pg_ages_due(&env, 2402).ends, &sessions[LOOKUP]);
    sessions[USAGE].renewing = true;
    assert_ptr_equal(pg_ages_due(&env, 2402).ends, &sessions[LOOKUP]);
}

static void test_no_maximum(void **state)
{
    (void)state;
    config.postgres_max_age = 0;
    assert_null(pg_ages_due(&env, INT64_MAX / 2).ends);
    assert_null(pg_ages_due(&env, INT64_MAX / 2).renews);
}

/* The one that is refused needs the next place. */
static void test_none_is_renewed_during_a_claim(void **state)
{
    (void)state;
    sessions[FEED].up = false;
    sessions[FEED].refused = true;
    sessions[FEED].claimed_us = INT64_MAX / 2;
    assert_null(pg_ages_due(&env, 1802).renews);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_lot_decides_within_its_span, begin),
        cmocka_unit_test_setup(test_one_is_renewed_at_a_time, begin),
        cmocka_unit_test_setup(test_the_oldest_ends, begin),
        cmocka_unit_test_setup(test_no_maximum, begin),
        cmocka_unit_test_setup(test_none_is_renewed_during_a_claim, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
