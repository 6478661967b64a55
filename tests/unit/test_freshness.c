/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/freshness.h>

static const struct freshness_policy policy = {
    .ttl_us = 60, .ttl_unlinked_us = 5, .negative_ttl_us = 30, .stale_max_us = 300};

static struct freshness_limits at(int64_t confirmed_us, int64_t watermark_us)
{
    struct freshness_inputs inputs = {.confirmed_us = confirmed_us,
                                      .watermark_us = watermark_us,
                                      .known_watermark_us = TIME_NEVER,
                                      .notified = true};

    return freshness_limits_at(&policy, &inputs, 1000);
}

static void test_ttl_while_linked(void **state)
{
    struct freshness_limits freshness = at(999, TIME_NEVER);

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
    struct freshness_limits freshness = at(TIME_NEVER, TIME_NEVER);

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
    struct freshness_limits freshness = at(999, 990);

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
    struct freshness_limits freshness = at(999, 990);

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
    assert_int_equal(freshness_limits_at(&policy, &inputs, 1000).oldest_us, 990);
    assert_int_equal(freshness_limits_at(&policy, &inputs, 1000).oldest_stale_us, 990);
    assert_int_equal(freshness_limits_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us, 990);
    inputs.confirmed_us = 994;
    assert_int_equal(freshness_limits_at(&policy, &inputs, 1000).oldest_stale_us, 980);
    inputs.confirmed_us = 999;
    inputs.notified = false;
    assert_true(freshness_limits_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us > 1000);
    inputs = (struct freshness_inputs){
        .confirmed_us = 994, .known_watermark_us = TIME_NEVER, .notified = true};
    assert_true(freshness_limits_at(&policy, &inputs, 1000).oldest_at_soft_timeout_us > 1000);
}

/* A heartbeat tells nothing about verdicts that were read elsewhere. */
static void test_lookups_elsewhere_are_unlinked(void **state)
{
    struct freshness_inputs inputs = {.confirmed_us = 999,
                                      .watermark_us = TIME_NEVER,
                                      .known_watermark_us = TIME_NEVER,
                                      .notified = true,
                                      .elsewhere = true};
    struct freshness_limits freshness = freshness_limits_at(&policy, &inputs, 1000);

    (void)state;
    assert_false(freshness.linked);
    assert_int_equal(freshness_oldest(&freshness, VERDICT_ALLOW), 995);
    assert_true(freshness.oldest_at_soft_timeout_us > 1000);
    assert_true(freshness.oldest_stale_us > 1000);
}

static struct freshness linked_at(int64_t now_us)
{
    struct freshness freshness;

    freshness_init(&freshness, &policy);
    freshness_feed_confirmed(&freshness, now_us - 1);
    freshness_tick(&freshness, now_us);
    return freshness;
}

static enum freshness_use use(const struct freshness *freshness, int64_t read_at_us)
{
    struct digests digests = {1, {digest_number(1)}};

    return freshness_of(freshness, &digests, VERDICT_ALLOW, read_at_us);
}

static void test_a_jump_ends_the_lease(void **state)
{
    struct freshness freshness = linked_at(1000);

    (void)state;
    freshness_clocks_jumped(&freshness, 1000, 20);
    assert_false(freshness_linked(&freshness));
    freshness_tick(&freshness, 1001);
    assert_int_equal(freshness.limits.oldest_us, 1000);
    /* A heartbeat from before it confirms nothing, one sent since does. */
    assert_false(freshness_feed_confirmed(&freshness, 999));
    assert_false(freshness_linked(&freshness));
    assert_true(freshness_feed_confirmed(&freshness, 1001));
    assert_true(freshness_linked(&freshness));
}

static int64_t oldest_stale(struct freshness *freshness, int64_t now_us)
{
    freshness_tick(freshness, now_us);
    return freshness->limits.oldest_stale_us;
}

/* policy.stale_max_us is 300. */
static void test_what_was_read_before_a_jump_is_older(void **state)
{
    struct freshness freshness;

    (void)state;
    freshness_init(&freshness, &policy);
    assert_int_equal(oldest_stale(&freshness, 1000), 700);
    freshness_clocks_jumped(&freshness, 1000, 20);
    assert_int_equal(oldest_stale(&freshness, 1000), 720);
    assert_int_equal(oldest_stale(&freshness, 1290), 1000);
    assert_int_equal(oldest_stale(&freshness, 1400), 1100);
    freshness_clocks_jumped(&freshness, 1000, 20); /* the same one again */
    assert_int_equal(oldest_stale(&freshness, 1000), 720);
    freshness_clocks_jumped(&freshness, 1010, 500);
    assert_int_equal(oldest_stale(&freshness, 1010), 1010);
    freshness_clocks_jumped(&freshness, 1020, -3600); /* a clock set back makes nothing younger */
    assert_int_equal(oldest_stale(&freshness, 1020), 1020);
}

/* policy.ttl_us is 60, ttl_unlinked_us 5, stale_max_us 300. */
static void test_uses_of_a_verdict_end_one_after_the_other(void **state)
{
    struct freshness freshness = linked_at(1000);
    struct digests digests = {1, {digest_number(1)}};

    (void)state;
    assert_int_equal(use(&freshness, 940), USE_NOW);
    assert_int_equal(use(&freshness, 939), USE_IF_DOWN);
    assert_int_equal(use(&freshness, 700), USE_IF_DOWN);
    assert_int_equal(use(&freshness, 699), USE_NEVER);
    assert_int_equal(freshness_of(&freshness, &digests, VERDICT_DENY_UNKNOWN, 969), USE_IF_DOWN);
    freshness_feed_tells_all(&freshness, true);
    assert_int_equal(use(&freshness, 940), USE_NOW);
    assert_int_equal(use(&freshness, 939), USE_IF_SLOW);
    assert_int_equal(use(&freshness, 700), USE_IF_SLOW);
    assert_int_equal(use(&freshness, 699), USE_NEVER);
    freshness_tick(&freshness, 1005); /* the lease ends */
    assert_int_equal(use(&freshness, 1000), USE_NOW);
    assert_int_equal(use(&freshness, 999), USE_IF_DOWN);
}

static void test_a_fresh_verdict_is_of_every_use(void **state)
{
    const struct freshness_policy no_stale = {.ttl_us = 60, .ttl_unlinked_us = 5};
    struct freshness freshness = linked_at(1000);

    (void)state;
    freshness_set_policy(&freshness, &no_stale);
    assert_int_equal(use(&freshness, 940), USE_NOW);
    assert_int_equal(use(&freshness, 939), USE_NEVER);
}

/* Changes that may be missing forbid stale service while the feed is up; known ones always. */
static void test_changes_end_uses(void **state)
{
    struct freshness freshness = linked_at(1000);

    (void)state;
    freshness_feed_tells_all(&freshness, true);
    freshness_changes_may_be_missing(&freshness, 990);
    assert_int_equal(use(&freshness, 990), USE_NOW);
    assert_int_equal(use(&freshness, 989), USE_NEVER);
    freshness_everything_changed(&freshness, 980); /* no watermark falls */
    assert_int_equal(use(&freshness, 989), USE_NEVER);
    freshness_tick(&freshness, 1010);
    assert_int_equal(use(&freshness, 989), USE_IF_DOWN);
    assert_int_equal(use(&freshness, 979), USE_NEVER);
    freshness_everything_changed(&freshness, 1007);
    assert_int_equal(use(&freshness, 1007), USE_NOW);
    assert_int_equal(use(&freshness, 1006), USE_NEVER);
}

static void test_a_changed_key_is_of_no_use(void **state)
{
    struct freshness freshness = linked_at(1000);
    struct digests one = {1, {digest_number(1)}};
    struct digests two = {1, {digest_number(2)}};

    (void)state;
    assert_true(freshness_watch_keys(&freshness));
    assert_true(freshness_watermark(&freshness, &one) == TIME_NEVER);
    freshness_key_changed(&freshness, &one.of[0], 990);
    assert_int_equal(freshness_of(&freshness, &one, VERDICT_ALLOW, 989), USE_NEVER);
    assert_int_equal(freshness_of(&freshness, &one, VERDICT_ALLOW, 990), USE_NOW);
    assert_int_equal(freshness_of(&freshness, &two, VERDICT_ALLOW, 989), USE_NOW);
    assert_int_equal(freshness_of(&freshness, NULL, VERDICT_ALLOW, 989), USE_NOW);
    assert_true(freshness_outdated(&freshness, &one, 989));
    assert_false(freshness_outdated(&freshness, &one, 990));
    assert_int_equal(freshness_watermark(&freshness, &one), 990);
    freshness_changes_may_be_missing(&freshness, 995);
    assert_int_equal(freshness_watermark(&freshness, &one), 995);
    freshness_done(&freshness);
}

/* A key may be announced by any of its digests, whichever of them names it. */
static void test_a_key_of_several_digests_changes_by_any(void **state)
{
    struct digests digests = {3, {digest_number(1), digest_number(2), digest_number(3)}};
    struct digest other = digest_number(4);

    (void)state;
    for (size_t i = 0; i < digests.len; i++) {
        struct freshness freshness = linked_at(1000);

        freshness_key_changed(&freshness, &digests.of[i], 990); /* not watched */
        assert_true(freshness_watch_keys(&freshness));
        assert_int_equal(freshness_of(&freshness, &digests, VERDICT_DENY_UNKNOWN, 989), USE_NOW);
        freshness_key_changed(&freshness, &other, 990);
        assert_false(freshness_outdated(&freshness, &digests, 989));
        freshness_key_changed(&freshness, &digests.of[i], 990);
        assert_int_equal(freshness_of(&freshness, &digests, VERDICT_DENY_UNKNOWN, 989), USE_NEVER);
        assert_int_equal(freshness_of(&freshness, &digests, VERDICT_ALLOW, 990), USE_NOW);
        assert_int_equal(freshness_watermark(&freshness, &digests), 990);
        assert_true(freshness_watch_keys(&freshness)); /* forgets nothing */
        assert_true(freshness_outdated(&freshness, &digests, 989));
        freshness_done(&freshness);
    }
}

/* When lookups and the feed agree again, nobody can tell what was read elsewhere. */
static void test_lookups_that_agree_again_change_everything(void **state)
{
    struct freshness freshness = linked_at(1000);

    (void)state;
    freshness_lookups_agree(&freshness, 990); /* they did before */
    assert_int_equal(use(&freshness, 989), USE_NOW);
    assert_true(freshness_lookups_elsewhere(&freshness));
    assert_false(freshness_lookups_elsewhere(&freshness));
    assert_int_equal(use(&freshness, 995), USE_NOW); /* within ttl_unlinked */
    assert_int_equal(use(&freshness, 994), USE_NEVER);
    freshness_lookups_agree(&freshness, 998);
    assert_false(freshness_is_elsewhere(&freshness));
    assert_int_equal(use(&freshness, 998), USE_NOW);
    assert_int_equal(use(&freshness, 997), USE_NEVER);
}

/* The inputs that come from the other thread may be from before the jump. */
static void test_a_follower_remembers_a_jump(void **state)
{
    struct freshness freshness = linked_at(1000);
    struct freshness leader = freshness;

    (void)state;
    freshness_clocks_jumped(&freshness, 1000, 20);
    freshness_follow(&freshness, &leader.inputs);
    assert_false(freshness_linked(&freshness));
    assert_int_equal(use(&freshness, 999), USE_IF_DOWN);
    assert_int_equal(oldest_stale(&freshness, 1000), 720);
    freshness_clocks_jumped(&leader, 1000, 20);
    freshness_feed_confirmed(&leader, 1001);
    freshness_follow(&freshness, &leader.inputs);
    assert_true(freshness_linked(&freshness));
    assert_int_equal(oldest_stale(&freshness, 1000),
                     1000); /* the watermark, as PostgreSQL answers */
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
        cmocka_unit_test(test_uses_of_a_verdict_end_one_after_the_other),
        cmocka_unit_test(test_a_fresh_verdict_is_of_every_use),
        cmocka_unit_test(test_changes_end_uses),
        cmocka_unit_test(test_a_changed_key_is_of_no_use),
        cmocka_unit_test(test_a_key_of_several_digests_changes_by_any),
        cmocka_unit_test(test_lookups_that_agree_again_change_everything),
        cmocka_unit_test(test_a_follower_remembers_a_jump),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
