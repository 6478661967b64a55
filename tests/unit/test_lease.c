/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/changes/lease.h>
#include <apikeyd/clock/clock.h>

enum { SECOND = 1000000 };

static const struct lease_coverage whole = {NULL, NULL, 0};
static const struct lease_coverage late = {NULL, "notification: late", SECOND};
static const struct lease_coverage some = {"cache.ttl: some only", NULL, 0};

static char no_column[] = "";
static struct config config = {.postgres_not_before_column = no_column,
                               .postgres_expires_column = no_column,
                               .cache_ttl = 3600 * (int64_t)SECOND,
                               .cache_ttl_unlinked = 600 * (int64_t)SECOND};
static struct mailbox to_front;
static struct back_env env;
static struct lease *lease;
static struct lease_stream stream, other;
static struct store store;
static bool agree;
static int64_t asked_since_us;
static unsigned changes;
static bool changed_all;
static int64_t changed_at_us;

static void on_change(void *arg, const struct digest *digest, int64_t at_us)
{
    (void)arg;
    changes++;
    changed_all = !digest;
    changed_at_us = at_us;
}

static bool lookups_agree(void *arg, int64_t since_us)
{
    (void)arg;
    asked_since_us = since_us;
    return agree;
}

static void drop_line(void *arg, enum log_level level, const struct log_place *place,
                      const char *line)
{
    (void)arg;
    (void)level;
    (void)place;
    (void)line;
}

static int begin(void **state)
{
    (void)state;
    env = (struct back_env){
        .config = &config,
        .to_front = &to_front,
        .log = {.level = LOG_LEVEL_ERROR, .sink = drop_line},
    };
    store = (struct store){.mark = {.started_us = 1, .table = 1, .database = "d"},
                           .id = {.system = 1, .timeline = 2, .table = 1, .started_us = 1},
                           .plain = true};
    stream = other = (struct lease_stream){0};
    agree = false;
    changes = 0;
    assert_int_equal(mailbox_init(&to_front, 256, sizeof(struct to_front)), 0);
    assert_true(back_env_open(&env));
    lease = lease_new(&(struct lease_setup){&env, on_change, lookups_agree, NULL});
    return lease ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    lease_free(lease);
    back_env_close(&env);
    mailbox_done(&to_front);
    return 0;
}

/* What the front thread judges by: the last of the messages to it. */
static struct freshness_inputs front_inputs(void)
{
    struct freshness_inputs inputs = {0};
    struct to_front message;

    while (mailbox_take(&to_front, &message)) {
        if (message.type == TO_FRONT_FRESHNESS)
            inputs = message.freshness_inputs;
    }
    return inputs;
}

/* The clock moves on, so that two times differ. */
static int64_t later_now(void)
{
    int64_t now_us = clock_monotonic_us();

    while (clock_monotonic_us() == now_us)
        ;
    return clock_monotonic_us();
}

static int64_t confirm(int64_t age_us)
{
    int64_t sent_us = clock_monotonic_us() - age_us;

    assert_true(lease_store(lease, &store));
    assert_true(lease_confirmed(lease, &stream, sent_us));
    return sent_us;
}

static void bound_is(int64_t us, const char *text)
{
    struct bound bound = lease_bound(lease);

    assert_string_equal(bound.text, text);
    assert_int_equal(bound.us, us);
}

static void test_what_bounds_a_revocation(void **state)
{
    (void)state;
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: the change feed is down");
    lease_explain(lease, "cache.ttl_unlinked: a reason");
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: a reason");
    confirm(config.cache_ttl_unlinked + SECOND);
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: a reason");
    lease_explain(lease, NULL);
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: the change feed is down");
    confirm(3 * SECOND);
    assert_true(lease_up(lease));
    assert_int_equal(lease_bound(lease).us, config.cache_ttl); /* it has not told what it covers */
    lease_covers(lease, &stream, &whole);
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: a heartbeat is late");
    confirm(0);
    bound_is(0, "notification");
    lease_covers(lease, &stream, &some);
    bound_is(config.cache_ttl, "cache.ttl: some only");
    lease_covers(lease, &stream, &late);
    bound_is(SECOND, "notification: late");
    lease_down(lease, &stream);
    bound_is(config.cache_ttl_unlinked, "cache.ttl_unlinked: the change feed is down");
    assert_int_equal(env.metrics.value[METRIC_FEED_LOSSES], 1);
    lease_down(lease, &stream); /* a connection that is lost before it is of use */
    assert_int_equal(env.metrics.value[METRIC_FEED_LOSSES], 1);
}

static int64_t confirm_other(int64_t sent_us)
{
    assert_true(lease_store(lease, &store));
    assert_true(lease_confirmed(lease, &other, sent_us));
    return sent_us;
}

/* Where the times of two streams meet, nothing was missed, and nothing is read again. */
static void test_one_stream_carries_on_what_another_has_told(void **state)
{
    (void)state;
    lease_covers(lease, &stream, &whole);
    lease_covers(lease, &other, &whole);
    confirm(0);
    int64_t raised_us = front_inputs().watermark_us;
    confirm_other(later_now()); /* told since now only, but the first one is well */
    assert_int_equal(front_inputs().watermark_us, 0);
    later_now();
    int64_t sent_us = confirm(0); /* … and confirms beyond that */
    confirm_other(later_now());
    lease_down(lease, &stream);
    confirm_other(later_now());
    struct freshness_inputs inputs = front_inputs();
    assert_int_equal(inputs.watermark_us, raised_us);
    assert_true(inputs.confirmed_us > sent_us);
    assert_int_equal(env.metrics.value[METRIC_FEED_LOSSES], 0);
    lease_down(lease, &other);
    assert_int_equal(env.metrics.value[METRIC_FEED_LOSSES], 1);
}

/* A slower stream does not take back what another one has confirmed. */
static void test_the_best_confirmation_counts(void **state)
{
    (void)state;
    int64_t sent_us = confirm(0);
    confirm(SECOND);
    assert_int_equal(front_inputs().confirmed_us, sent_us);
}

/* The other one has told nothing of the time in between. */
static void test_streams_that_do_not_meet_leave_a_gap(void **state)
{
    (void)state;
    lease_covers(lease, &stream, &whole);
    lease_covers(lease, &other, &whole);
    confirm(0);
    lease_down(lease, &stream);
    int64_t before_us = later_now();
    confirm_other(clock_monotonic_us());
    assert_true(front_inputs().watermark_us >= before_us);

    /* Nor is a stream of any help that is up, but late. */
    config.cache_ttl_unlinked = 3; /* each heartbeat is late at once */
    later_now();
    before_us = later_now();
    confirm(0);
    assert_true(front_inputs().watermark_us >= before_us);
    config.cache_ttl_unlinked = 600 * (int64_t)SECOND;
}

/* It confirms, but not every change. */
static void test_a_stream_with_a_gap_carries_on_nothing(void **state)
{
    (void)state;
    lease_covers(lease, &other, &whole);
    lease_covers(lease, &stream, &some);
    confirm(0);
    confirm_other(later_now());
    later_now();
    confirm(0);
    lease_down(lease, &stream);
    int64_t before_us = other.from_us;
    assert_true(before_us > 0);
    confirm_other(later_now());
    assert_true(front_inputs().watermark_us >= before_us);
}

/* Nor does one with a gap, though it is well, reach the beginning of one that tells all: what was
 * read before it may be outdated, and the bound does not say so. */
static void test_a_whole_stream_does_not_wait_for_one_with_a_gap(void **state)
{
    (void)state;
    lease_covers(lease, &stream, &some);
    confirm(0);
    lease_covers(lease, &other, &whole);
    for (int i = 0; i < 2; i++) { /* the second time it comes back */
        int64_t before_us = later_now();
        int64_t sent_us = confirm_other(clock_monotonic_us());
        struct freshness_inputs inputs = front_inputs();
        assert_true(inputs.watermark_us >= before_us);
        assert_int_equal(inputs.confirmed_us, sent_us);
        bound_is(0, "notification");
        later_now();
        confirm(0);
        assert_int_equal(front_inputs().watermark_us, inputs.watermark_us);
        lease_down(lease, &other);
        lease_covers(lease, &other, &whole);
    }
}

/* It confirms nothing while another one tells all: a change that it lacks would otherwise be missed
 * for cache.ttl when the other one falls silent, though revocation_bound said "notification". */
static void test_a_stream_with_a_gap_yields(void **state)
{
    (void)state;
    lease_covers(lease, &other, &whole);
    int64_t told_us = confirm_other(clock_monotonic_us());
    lease_covers(lease, &stream, &some);
    later_now();
    confirm(0);
    bound_is(0, "notification");
    assert_int_equal(front_inputs().confirmed_us, told_us);

    config.cache_ttl_unlinked = 3; /* the other one is late at once */
    int64_t before_us = later_now();
    lease_covers(lease, &stream, &some);
    confirm(0);
    config.cache_ttl_unlinked = 600 * (int64_t)SECOND;
    assert_true(front_inputs().watermark_us >= before_us);
    bound_is(config.cache_ttl, "cache.ttl: some only");
}

/* Each end of the stream is a gap, and only a gap makes what was read doubtful. */
static void test_changes_are_missed_between_streams(void **state)
{
    (void)state;
    int64_t before_us = clock_monotonic_us();
    confirm(0);
    int64_t raised_us = front_inputs().watermark_us;
    assert_true(raised_us >= before_us);
    confirm(0);
    assert_int_equal(front_inputs().watermark_us, raised_us);
    lease_down(lease, &stream);
    before_us = later_now();
    int64_t sent_us = confirm(0);
    struct freshness_inputs inputs = front_inputs();
    assert_true(inputs.watermark_us >= before_us);
    assert_int_equal(inputs.confirmed_us, sent_us);
    assert_true(inputs.known_watermark_us == TIME_NEVER);
    before_us = later_now();
    lease_missing(lease);
    assert_true(front_inputs().watermark_us >= before_us);
}

static void test_the_front_is_told_what_the_stream_covers(void **state)
{
    (void)state;
    lease_covers(lease, &stream, &whole);
    assert_true(front_inputs().notified);
    lease_covers(lease, &stream, &late);
    assert_int_equal(front_inputs().watermark_us, 0); /* no news: no message */
    lease_covers(lease, &stream, &some);
    assert_false(front_inputs().notified);
    assert_int_equal(env.metrics.value[METRIC_FEED_TRIGGER], 0);
}

/* Not before the last confirmation, and not in the time to come. */
static void test_when_a_change_was_made(void **state)
{
    struct digest digest = digest_number(1);

    (void)state;
    lease_changed(lease, &digest, clock_monotonic_us());
    assert_true(changed_at_us == TIME_NEVER && !changed_all); /* nothing is confirmed yet */
    int64_t sent_us = confirm(SECOND);
    lease_changed(lease, &digest, sent_us - SECOND);
    assert_int_equal(changed_at_us, sent_us);
    lease_changed(lease, &digest, sent_us + 1);
    assert_int_equal(changed_at_us, sent_us + 1);
    lease_changed(lease, &digest, clock_monotonic_us() + SECOND);
    assert_true(changed_at_us > sent_us + 1 && changed_at_us <= clock_monotonic_us());
    lease_changed(lease, NULL, TIME_NEVER);
    assert_true(changed_at_us == TIME_NEVER && changed_all);
    assert_int_equal(changes, 5);
}

static void test_a_confirmation_from_before_a_jump_is_none(void **state)
{
    (void)state;
    int64_t sent_us = clock_monotonic_us();
    assert_true(lease_store(lease, &store));
    back_env_clock_jump(&env, sent_us + 1, SECOND);
    assert_false(lease_confirmed(lease, &stream, sent_us));
    assert_false(lease_up(lease));
    assert_true(lease_confirmed(lease, &stream, sent_us + 1));
    assert_true(lease_up(lease));
}

static void test_an_old_server_is_not_listened_to(void **state)
{
    struct store standby = store;

    (void)state;
    confirm(0);
    lease_down(lease, &stream);
    standby.id.timeline = 1;
    standby.mark.started_us = standby.id.started_us = 2;
    assert_false(lease_store(lease, &standby));
    assert_true(lease_store(lease, &store));
}

static void test_lookups_elsewhere_until_they_agree(void **state)
{
    (void)state;
    lease_covers(lease, &stream, &whole);
    int64_t sent_us = confirm(SECOND);
    assert_true(freshness_lookups_elsewhere(&env.freshness));
    bound_is(config.cache_ttl_unlinked,
             "cache.ttl_unlinked: lookups are not answered where the change feed listens");
    confirm(0);
    assert_int_equal(asked_since_us, sent_us);
    assert_true(freshness_is_elsewhere(&env.freshness));
    agree = true;
    int64_t before_us = later_now();
    confirm(0);
    bound_is(0, "notification");
    struct freshness_inputs inputs = front_inputs();
    assert_true(!inputs.elsewhere && inputs.known_watermark_us >= before_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_bounds_a_revocation, begin, end),
        cmocka_unit_test_setup_teardown(test_changes_are_missed_between_streams, begin, end),
        cmocka_unit_test_setup_teardown(test_one_stream_carries_on_what_another_has_told, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_best_confirmation_counts, begin, end),
        cmocka_unit_test_setup_teardown(test_streams_that_do_not_meet_leave_a_gap, begin, end),
        cmocka_unit_test_setup_teardown(test_a_stream_with_a_gap_carries_on_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_a_whole_stream_does_not_wait_for_one_with_a_gap, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_stream_with_a_gap_yields, begin, end),
        cmocka_unit_test_setup_teardown(test_the_front_is_told_what_the_stream_covers, begin, end),
        cmocka_unit_test_setup_teardown(test_when_a_change_was_made, begin, end),
        cmocka_unit_test_setup_teardown(test_a_confirmation_from_before_a_jump_is_none, begin, end),
        cmocka_unit_test_setup_teardown(test_an_old_server_is_not_listened_to, begin, end),
        cmocka_unit_test_setup_teardown(test_lookups_elsewhere_until_they_agree, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
