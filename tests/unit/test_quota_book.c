/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <time.h>

#include <apikeyd/model/month.h>
#include <apikeyd/model/quota_book.h>

enum { MONTH = 682, ROUND = 7 };

static struct row_id id_of(int64_t number)
{
    struct row_id id;

    row_id_from_bigint(number, &id);
    return id;
}

static void use(struct quota_book *book, int64_t key, uint32_t round, unsigned times)
{
    struct row_id id = id_of(key);

    while (times-- > 0)
        quota_uses_count(quota_book_get(book, &id, MONTH, round));
}

static void take(struct quota_book *book, int64_t key, uint32_t rounds, uint64_t uses,
                 uint32_t round)
{
    quota_book_take(book, &(struct quota_sum){id_of(key), MONTH, rounds, uses}, round);
}

static uint64_t uses_of(struct quota_book *book, int64_t key, uint32_t round)
{
    struct row_id id = id_of(key);

    return quota_book_get(book, &id, MONTH, round)->uses;
}

static bool is_known(struct quota_book *book, int64_t key, uint32_t month)
{
    struct row_id id = id_of(key);
    bool known;

    (void)quota_book_look(book, &id, month, &known);
    return known;
}

/* Each own use is in the sum, or added to it, and not both. */
static void test_own_uses_are_added_once(void **state)
{
    struct quota_book *book = quota_book_new(64, ID_BIGINT, 1);

    (void)state;
    use(book, 1, ROUND, 5);
    assert_int_equal(uses_of(book, 1, ROUND), 5);
    assert_false(is_known(book, 1, MONTH));
    take(book, 1, ROUND, 100, ROUND); /* the rounds before this one are in the sum */
    assert_int_equal(uses_of(book, 1, ROUND), 105);
    assert_true(is_known(book, 1, MONTH));
    use(book, 1, ROUND + 1, 3);
    assert_int_equal(uses_of(book, 1, ROUND + 1), 108);
    take(book, 1, ROUND, 110, ROUND + 1); /* others have written 10 */
    assert_int_equal(uses_of(book, 1, ROUND + 1), 118);
    take(book, 1, ROUND + 1, 115, ROUND + 1); /* and what this host wrote is in it */
    assert_int_equal(uses_of(book, 1, ROUND + 1), 118);
    /* A sum that comes two rounds late is not used. */
    use(book, 1, ROUND + 2, 1);
    use(book, 1, ROUND + 3, 1);
    take(book, 1, ROUND + 1, 115, ROUND + 3);
    assert_int_equal(uses_of(book, 1, ROUND + 3), 120);
    /* Rounds without a use pass too: all that was counted is in the table. */
    take(book, 1, ROUND + 9, 200, ROUND + 10);
    assert_int_equal(uses_of(book, 1, ROUND + 10), 200);
    take(book, 2, ROUND, 9, ROUND); /* no key of the book */
    assert_int_equal(uses_of(book, 2, ROUND + 10), 0);
    quota_book_free(book);
}

static void test_a_month_begins_with_none(void **state)
{
    struct quota_book *book = quota_book_new(64, ID_BIGINT, 1);
    struct row_id id = id_of(1);

    (void)state;
    use(book, 1, ROUND, 5);
    take(book, 1, ROUND, 100, ROUND);
    assert_int_equal(quota_book_get(book, &id, MONTH + 1, ROUND)->uses, 0);
    assert_false(is_known(book, 1, MONTH + 1));
    take(book, 1, ROUND, 100, ROUND); /* the last month's */
    assert_int_equal(quota_book_get(book, &id, MONTH + 1, ROUND)->uses, 0);
    assert_false(is_known(book, 1, MONTH));
    quota_book_free(book);
}

static bool is_due(struct quota_book *book, uint32_t round, uint32_t now_s)
{
    struct row_id id = id_of(1);
    struct quota_uses *uses = quota_book_get(book, &id, MONTH, round);

    if (!quota_uses_stale(uses) || !quota_uses_due(uses, now_s))
        return false;
    quota_uses_asked(uses, now_s);
    return true;
}

static void test_a_sum_is_asked_for_once_a_round(void **state)
{
    struct quota_book *book = quota_book_new(64, ID_BIGINT, 1);

    (void)state;
    assert_true(is_due(book, ROUND, 10));
    assert_false(is_due(book, ROUND, 11));
    assert_false(is_due(book, ROUND + 1, 70));
    assert_true(is_due(book, ROUND + 1, 71)); /* it will not come any more */
    take(book, 1, ROUND + 1, 3, ROUND + 1);
    assert_false(is_due(book, ROUND + 1, 71));
    assert_true(is_due(book, ROUND + 2, 71));
    take(book, 1, ROUND, 3, ROUND + 2); /* of no use any more */
    assert_false(is_due(book, ROUND + 2, 71));
    assert_true(is_due(book, ROUND + 3, 71));
    quota_book_free(book);
}

/* A key goes only for one that was used later. */
static void test_the_key_that_was_not_used_for_longest_goes(void **state)
{
    struct quota_book *book = quota_book_new(1, ID_BIGINT, 1); /* all keys have the same places */

    (void)state;
    for (int64_t key = 0; key < 8; key++)
        use(book, key, ROUND + (uint32_t)key, 1);
    use(book, 0, ROUND + 8, 1);
    assert_int_equal(quota_book_evictions(book), 0);
    use(book, 9, ROUND + 9, 1);
    assert_int_equal(quota_book_evictions(book), 1);
    assert_int_equal(uses_of(book, 0, ROUND + 9), 2);
    assert_int_equal(uses_of(book, 2, ROUND + 9), 1);
    assert_int_equal(uses_of(book, 1, ROUND + 9), 0);
    quota_book_free(book);
}

static void test_text_ids_differ_in_their_rests(void **state)
{
    struct quota_book *book = quota_book_new(64, ID_TEXT, 1);
    struct row_id a = {0}, b;

    (void)state;
    memset(&a, 'x', sizeof a);
    b = a;
    b.rest.bytes[19] = 'y';
    quota_uses_count(quota_book_get(book, &a, MONTH, ROUND));
    assert_int_equal(quota_book_get(book, &b, MONTH, ROUND)->uses, 0);
    assert_int_equal(quota_book_get(book, &a, MONTH, ROUND)->uses, 1);
    quota_book_free(book);
}

/* As the C library has it, for each day of 600 years. */
static void test_months(void **state)
{
    (void)state;
    for (uint32_t day = 0; day < 219000; day++) {
        time_t seconds = (time_t)day * 86400;
        struct tm fields;

        gmtime_r(&seconds, &fields);
        uint32_t month = (uint32_t)(fields.tm_year - 70) * 12 + (uint32_t)fields.tm_mon;
        assert_int_equal(month_of_hour(day * 24), month);
        assert_int_equal(month_of_hour(day * 24 + 23), month);
        if (fields.tm_mday == 1)
            assert_int_equal(month_first_hour(month), day * 24);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_uses_are_added_once),
        cmocka_unit_test(test_a_month_begins_with_none),
        cmocka_unit_test(test_a_sum_is_asked_for_once_a_round),
        cmocka_unit_test(test_the_key_that_was_not_used_for_longest_goes),
        cmocka_unit_test(test_text_ids_differ_in_their_rests),
        cmocka_unit_test(test_months),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
