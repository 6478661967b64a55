/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/postgres/pg_sessions.h>
#include <apikeyd/thread/back_env.h>

enum { FEED, LOOKUP, USAGE, SPARE, SPARE_TOO, SESSIONS };

static struct back_env env;
static struct pg_session sessions[SESSIONS];
static struct pg_session *let_go; /* the last one that was told to */
static int lines;

static void on_let_go(void *arg)
{
    assert_null(let_go);
    let_go = arg;
}

static void on_retry(void *arg)
{
    assert_true(((struct pg_session *)arg)->refused);
}

static void on_line(void *arg, enum log_level level, const struct log_place *place,
                    const char *line)
{
    (void)arg;
    (void)level;
    (void)place;
    (void)line;
    lines++;
}

/* All but the feed are up. */
static int begin(void **state)
{
    static const enum pg_rank ranks[SESSIONS] = {PG_RANK_FEED, PG_RANK_LOOKUP, PG_RANK_USAGE,
                                                 PG_RANK_SPARE, PG_RANK_SPARE};

    (void)state;
    env = (struct back_env){.log = {.level = LOG_LEVEL_INFO, .sink = on_line}};
    TAILQ_INIT(&env.sessions);
    lines = 0;
    let_go = NULL;
    for (size_t i = SESSIONS; i-- > 0;) {
        sessions[i] = (struct pg_session){.env = &env,
                                          .rank = ranks[i],
                                          .dsn = i == FEED ? "feed" : "",
                                          .let_go = on_let_go,
                                          .retry = on_retry,
                                          .arg = &sessions[i]};
        pg_session_add(&sessions[i]);
        assert_true(i == FEED || pg_session_connected(&sessions[i]));
    }
    return 0;
}

static void leave(void)
{
    struct pg_session *session = let_go;

    assert_non_null(session);
    let_go = NULL;
    pg_session_gave_way(session);
}

/* A claim may be made again. */
static void pass_time(void)
{
    sessions[FEED].claimed_us -= 60000000;
}

static void refuse(size_t which)
{
    pg_session_refused(&sessions[which], "no room");
}

static void test_places_are_left_in_order(void **state)
{
    static const size_t order[] = {SPARE, SPARE, USAGE, LOOKUP};

    (void)state;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        refuse(FEED);
        assert_int_equal(let_go->rank, sessions[order[i]].rank);
        assert_false(pg_session_may_connect(&sessions[LOOKUP]));
        leave();
        assert_true(pg_session_connected(&sessions[FEED]));
        assert_true(pg_session_may_connect(&sessions[SPARE]));
        pg_session_ended(&sessions[FEED]);
    }
    refuse(FEED);
    assert_null(let_go);
    assert_int_equal(env.metrics.value[METRIC_POSTGRES_REFUSED], SESSIONS);
    for (size_t i = 0; i < SESSIONS; i++)
        assert_true(pg_session_connected(&sessions[i]));
    assert_int_equal(env.metrics.value[METRIC_POSTGRES_REFUSED], 0);
    assert_int_equal(lines, 2);
}

static void test_nothing_is_claimed_from_what_comes_first(void **state)
{
    (void)state;
    assert_true(pg_session_connected(&sessions[FEED]));
    pg_session_ended(&sessions[SPARE]);
    refuse(SPARE);
    assert_null(let_go);
    pg_session_ended(&sessions[SPARE_TOO]);
    pg_session_ended(&sessions[USAGE]);
    refuse(USAGE);
    assert_null(let_go);
    refuse(LOOKUP);
    assert_null(let_go);
}

/* An attempt that was under way when the claim was made. */
static void test_a_place_is_not_taken_past_a_claim(void **state)
{
    (void)state;
    pg_session_ended(&sessions[SPARE]);
    refuse(FEED);
    assert_ptr_equal(let_go, &sessions[SPARE_TOO]);
    assert_false(pg_session_connected(&sessions[SPARE]));
    assert_false(sessions[SPARE].up);
}

/* Another client may take each place that is left. */
static void test_a_claim_in_vain_costs_one_session(void **state)
{
    (void)state;
    refuse(FEED);
    leave();
    for (int i = 0; i < 5; i++) {
        pass_time();
        assert_true(pg_session_may_connect(&sessions[SPARE]));
        refuse(FEED);
        assert_null(let_go);
    }
    for (size_t i = SPARE; i < SESSIONS; i++)
        assert_true(pg_session_connected(&sessions[i]));
    refuse(FEED);
    assert_non_null(let_go);
}

/* A place that was left for usage, and was taken, is no reason for the feed to have none. */
static void test_a_claim_in_vain_holds_for_its_rank(void **state)
{
    (void)state;
    assert_true(pg_session_connected(&sessions[FEED]));
    pg_session_ended(&sessions[USAGE]);
    refuse(USAGE);
    leave();
    sessions[USAGE].claimed_us -= 60000000;
    refuse(USAGE);
    assert_null(let_go);
    pg_session_ended(&sessions[FEED]);
    refuse(FEED);
    assert_true(pg_session_claims(&sessions[FEED]));
    assert_int_equal(let_go->rank, PG_RANK_SPARE);
    leave();
    pass_time();
    assert_false(pg_session_claims(&sessions[FEED]));
    refuse(FEED);
    assert_null(let_go);
}

/* The place was not lost to another client. */
static void test_a_place_that_a_later_one_got_is_claimed_at_once(void **state)
{
    (void)state;
    pg_session_ended(&sessions[LOOKUP]);
    pg_session_ended(&sessions[USAGE]);
    refuse(FEED);
    leave();
    refuse(LOOKUP);
    assert_null(let_go);
    sessions[FEED].claimed_us -= 10000000; /* it has ended, and is not made again yet */
    sessions[LOOKUP].claimed_us = sessions[FEED].claimed_us;
    assert_true(pg_session_connected(&sessions[USAGE]));
    refuse(FEED);
    assert_null(let_go); /* another role's place may be none of its own */
    refuse(LOOKUP);
    assert_int_equal(let_go->rank, PG_RANK_SPARE);
}

/* Sessions that were lost together come back one by one: some get the places of others. */
static void test_it_is_over_when_all_are_up(void **state)
{
    (void)state;
    refuse(FEED);
    for (size_t i = LOOKUP; i < SESSIONS; i++)
        pg_session_ended(&sessions[i]);
    let_go = NULL;
    assert_true(pg_session_connected(&sessions[FEED]));
    assert_int_equal(env.metrics.value[METRIC_POSTGRES_REFUSED], 0);
    refuse(USAGE);
    assert_int_equal(lines, 1);
    for (size_t i = 0; i < SESSIONS; i++)
        assert_true(pg_session_connected(&sessions[i]));
    assert_int_equal(lines, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_places_are_left_in_order, begin),
        cmocka_unit_test_setup(test_nothing_is_claimed_from_what_comes_first, begin),
        cmocka_unit_test_setup(test_a_place_is_not_taken_past_a_claim, begin),
        cmocka_unit_test_setup(test_a_claim_in_vain_costs_one_session, begin),
        cmocka_unit_test_setup(test_a_claim_in_vain_holds_for_its_rank, begin),
        cmocka_unit_test_setup(test_a_place_that_a_later_one_got_is_claimed_at_once, begin),
        cmocka_unit_test_setup(test_it_is_over_when_all_are_up, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
