/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/freshness.h>

static const struct freshness_policy policy = {
    .ttl_us = 60, .ttl_unlinked_us = 5, .negative_ttl_us = 30, .stale_max_us = 300};

static struct freshness at(int64_t confirmed_us, int64_t watermark_us)
{
    struct freshness_inputs inputs = {.confirmed_us = confirmed_us,
                                      .watermark_us = watermark_us,
                                      .known_watermark_us = TIME_NEVER,
                                      .notified = true};

    return freshness_at(&policy, &inputs, 1000);
}

static void test_ttl_while_linked(void **state)
{
    struct freshness freshness = at(999, TIME_NEVER);

    (void)state;
    assert_true(freshness.linked);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_ALLOW), 940);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_DENY_INACTIVE), 940);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_DENY_UNKNOWN), 970);
    assert_int_equal(freshness.oldest_stale_us, 700);
    assert_int_equal(freshness.refresh_us, 952); /* 48 of 60 have passed */
}

static void test_unlinked_bounds_every_ttl(void **state)
{
    struct freshness freshness = at(TIME_NEVER, TIME_NEVER);

    (void)state;
    assert_false(freshness.linked);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_ALLOW), 995);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_DENY_UNKNOWN), 995);
    assert_int_equal(freshness.oldest_stale_us, 700);
    assert_int_equal(freshness.refresh_us, 996);
}

/* Nobody has to notice that the feed is gone. */
static void test_the_feed_is_a_lease(void **state)
{
    (void)state;
    assert_true(at(995, TIME_NEVER).linked);
    assert_false(at(994, TIME_NEVER).linked);
}

static void test_nothing_below_the_watermark(void **state)
{
    struct freshness freshness = at(999, 990);

    (void)state;
    assert_int_equal(freshness_oldest(&freshness, VERDICT_ALLOW), 990);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_DENY_UNKNOWN), 990);
    assert_int_equal(freshness.oldest_at_soft_timeout_us, 990);
    /* A confirmed heartbeat proves that PostgreSQL answers. */
    assert_int_equal(freshness.oldest_stale_us, 990);
    assert_int_equal(at(994, 990).oldest_stale_us, 700);
}

static void test_what_is_left(void **state)
{
    struct freshness freshness = at(999, 990);

    (void)state;
    assert_int_equal(freshness_left(&freshness, VERDICT_ALLOW, 995), 55);
    assert_int_equal(freshness_left(&freshness, VERDICT_DENY_UNKNOWN, 995), 25);
    assert_int_equal(freshness_left(&freshness, VERDICT_ALLOW, 985), -5); /* below the watermark */
    freshness = at(TIME_NEVER, 990);
    assert_int_equal(freshness_left(&freshness, VERDICT_ALLOW, 997), 2);
    assert_int_equal(freshness_left(&freshness, VERDICT_ALLOW, 991), -4);
}

static void test_what_is_forgotten_is_not_served_stale(void **state)
{
    struct freshness_inputs inputs = {
        .confirmed_us = 999, .watermark_us = 990, .known_watermark_us = 980, .notified = true};

    (void)state;
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_us, 990);
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_stale_us, 990);
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us, 990);
    inputs.confirmed_us = 994;
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_stale_us, 980);
    inputs.confirmed_us = 999;
    inputs.notified = false;
    assert_true(freshness_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us > 1000);
    inputs = (struct freshness_inputs){
        .confirmed_us = 994, .known_watermark_us = TIME_NEVER, .notified = true};
    assert_true(freshness_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us > 1000);
}

/* A heartbeat tells nothing about verdicts that were read elsewhere. */
static void test_lookups_elsewhere_are_unlinked(void **state)
{
    struct freshness_inputs inputs = {.confirmed_us = 999,
                                      .watermark_us = TIME_NEVER,
                                      .known_watermark_us = TIME_NEVER,
                                      .notified = true,
                                      .elsewhere = true};
    struct freshness freshness = freshness_at(&policy, &inputs, 1000);

    (void)state;
    assert_false(freshness.linked);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_ALLOW), 995);
    assert_true(freshness.oldest_at_soft_timeout_us > 1000);
    assert_true(freshness.oldest_stale_us > 1000);
}

static void test_a_jump_ends_the_lease(void **state)
{
    struct freshness_inputs inputs = {
        .confirmed_us = 999, .watermark_us = TIME_NEVER, .known_watermark_us = TIME_NEVER};

    (void)state;
    freshness_jump(&inputs, 1000, 20);
    assert_false(freshness_at(&policy, &inputs, 1000).linked);
    assert_int_equal(freshness_at(&policy, &inputs, 1001).oldest_us, 1000);
    /* A heartbeat from before it confirms nothing, one sent since does. */
    freshness_confirm(&inputs, 999);
    assert_false(freshness_at(&policy, &inputs, 1001).linked);
    freshness_confirm(&inputs, 1001);
    assert_true(freshness_at(&policy, &inputs, 1001).linked);
}

/* policy.stale_max_us is 300. */
static void test_what_was_read_before_a_jump_is_older(void **state)
{
    struct freshness_inputs inputs = no_freshness_inputs;

    (void)state;
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_stale_us, 700);
    freshness_jump(&inputs, 1000, 20);
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_stale_us, 720);
    assert_int_equal(freshness_at(&policy, &inputs, 1290).oldest_stale_us, 1000);
    assert_int_equal(freshness_at(&policy, &inputs, 1400).oldest_stale_us, 1100);
    freshness_jump(&inputs, 1000, 20); /* the same one again */
    assert_int_equal(freshness_at(&policy, &inputs, 1000).oldest_stale_us, 720);
    freshness_jump(&inputs, 1010, 500);
    assert_int_equal(freshness_at(&policy, &inputs, 1010).oldest_stale_us, 1010);
    freshness_jump(&inputs, 1020, -3600); /* a clock set back makes nothing younger */
    assert_int_equal(freshness_at(&policy, &inputs, 1020).oldest_stale_us, 1020);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ttl_while_linked),
        cmocka_unit_test(test_unlinked_bounds_every_ttl),
        cmocka_unit_test(test_the_feed_is_a_lease),
        cmocka_unit_test(test_nothing_below_the_watermark),
        cmocka_unit_test(test_what_is_left),
        cmocka_unit_test(test_lookups_elsewhere_are_unlinked),
        cmocka_unit_test(test_what_is_forgotten_is_not_served_stale),
        cmocka_unit_test(test_a_jump_ends_the_lease),
        cmocka_unit_test(test_what_was_read_before_a_jump_is_older),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
