/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <string.h>

#include <apikeyd/model/store.h>

static struct store store(int64_t started_us, uint64_t system, uint32_t timeline, uint32_t table)
{
    return (struct store){.mark = {.started_us = started_us, .table = table, .database = "app"},
                          .id = {system, timeline, 16384, table, started_us},
                          .plain = true};
}

static enum store_standing judge(const struct stores *stores, const struct store *of)
{
    struct store_id id;

    return stores_judge(stores, &of->mark, of->standby, &id);
}

static void test_what_is_not_known_has_to_be_asked_for(void **state)
{
    struct stores stores = {0};
    struct store a = store(1, 7, 1, 5), renamed = a;

    (void)state;
    assert_int_equal(judge(&stores, &a), STORE_UNKNOWN);
    stores_learn(&stores, &a);
    assert_int_equal(judge(&stores, &a), STORE_CURRENT);
    strcpy(renamed.mark.database, "other");
    assert_int_equal(judge(&stores, &renamed), STORE_UNKNOWN);
    a.mark.table++;
    assert_int_equal(judge(&stores, &a), STORE_UNKNOWN);
}

static void test_only_where_the_feed_listens(void **state)
{
    struct stores stores = {0};
    struct store a = store(1, 7, 1, 5), twin = store(1, 7, 1, 5), other = store(2, 8, 1, 5);

    (void)state;
    strcpy(twin.mark.database, "copy"); /* CREATE DATABASE … TEMPLATE: the same table OID */
    twin.id.database++;
    stores_learn(&stores, &twin);
    stores_learn(&stores, &other);
    assert_int_equal(stores_feed(&stores, &a), STORE_KEPT);
    assert_int_equal(judge(&stores, &a), STORE_CURRENT);
    assert_int_equal(judge(&stores, &twin), STORE_ELSEWHERE);
    assert_int_equal(judge(&stores, &other), STORE_ELSEWHERE);
    stores_feed_lost(&stores);
    assert_int_equal(judge(&stores, &twin), STORE_CURRENT);
    assert_int_equal(stores_feed(&stores, &other), STORE_REPLACED);
    assert_int_equal(judge(&stores, &a), STORE_ELSEWHERE);
}

static void test_earlier_timelines_are_of_no_use(void **state)
{
    struct stores stores = {0};
    struct store old = store(1, 7, 1, 5), new = store(2, 7, 2, 5), foreign = store(3, 9, 1, 5);

    (void)state;
    stores_feed(&stores, &old);
    assert_int_equal(judge(&stores, &old), STORE_CURRENT);
    stores_learn(&stores, &new);
    assert_true(stores_outdated(&stores, &old));
    assert_int_equal(judge(&stores, &old), STORE_OUTDATED);
    assert_int_equal(judge(&stores, &new), STORE_ELSEWHERE);
    assert_int_equal(stores_feed(&stores, &new), STORE_RESTARTED);
    assert_int_equal(judge(&stores, &new), STORE_CURRENT);
    stores_learn(&stores, &foreign); /* another cluster counts its own */
    assert_int_equal(judge(&stores, &foreign), STORE_ELSEWHERE);
    /* The newest timeline is remembered however many servers come and go. */
    for (int i = 0; i < 3 * STORES_KNOWN; i++) {
        struct store one = store(100 + i, 11, 1, 5);

        stores_learn(&stores, &one);
    }
    stores_learn(&stores, &old);
    assert_int_equal(judge(&stores, &old), STORE_OUTDATED);
}

static void test_an_operator_goes_back_to_an_earlier_timeline(void **state)
{
    struct stores stores = {0};
    struct store old = store(1, 7, 1, 5), new = store(2, 7, 2, 5), standby = store(3, 7, 0, 5);

    (void)state;
    standby.standby = true;
    stores_feed(&stores, &old);
    stores_learn(&stores, &standby);
    assert_false(stores_forget_later(&stores)); /* there is nothing to forget */
    assert_int_equal(judge(&stores, &old), STORE_CURRENT);
    stores_feed(&stores, &new);
    assert_true(stores_outdated(&stores, &old));
    assert_false(stores_forget_later(&stores)); /* a reload after a failover */
    stores_feed_lost(&stores);
    assert_false(stores_forget_later(&stores)); /* the old one has not come back */
    stores_learn(&stores, &old);
    stores_feed(&stores, &new);
    stores_learn(&stores, &old);
    assert_false(stores_forget_later(&stores)); /* the later one is there */
    stores_feed_lost(&stores);
    assert_true(stores_forget_later(&stores));
    assert_false(stores_outdated(&stores, &old));
    assert_true(stores_outdated(&stores, &standby));
    assert_int_equal(judge(&stores, &old), STORE_UNKNOWN);
    assert_int_equal(stores_feed(&stores, &old), STORE_KEPT);
    assert_int_equal(judge(&stores, &old), STORE_CURRENT);
    /* If the later one is still there it counts again. */
    stores_learn(&stores, &new);
    assert_int_equal(judge(&stores, &old), STORE_OUTDATED);
}

static void test_standbys_and_views(void **state)
{
    struct stores stores = {0};
    struct store standby = store(1, 7, 0, 5), view = store(2, 7, 1, 6);

    (void)state;
    standby.standby = true;
    view.plain = false;
    stores_learn(&stores, &standby);
    stores_learn(&stores, &view);
    assert_int_equal(judge(&stores, &standby), STORE_OUTDATED);
    standby.standby = false; /* it has been promoted: on which timeline? */
    assert_int_equal(judge(&stores, &standby), STORE_UNKNOWN);
    assert_int_equal(judge(&stores, &view), STORE_NO_TABLE);
}

static void test_where_lookups_are_answered(void **state)
{
    struct stores stores = {0};
    struct store_id home = {1, 1, 2, 3, 4}, restarted = {1, 1, 2, 3, 5}, other = {1, 1, 2, 4, 5};

    (void)state;
    assert_false(stores.has_home);
    assert_true(stores_answered(&stores, &home));
    assert_false(stores_answered(&stores, &home));
    assert_true(stores_answered(&stores, &restarted));
    assert_true(stores_answered(&stores, &other));
    assert_true(stores.has_home && store_id_equal(&stores.home, &other));
}

static void test_names(void **state)
{
    struct store_id id = {UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 7}, later = id,
                    other = id, restarted = id;
    char text[STORE_TEXT_SIZE];

    (void)state;
    store_id_to_text(&id, text);
    assert_string_equal(text, "18446744073709551615/4294967295/4294967295/4294967295");
    char key[STORE_KEY_SIZE];
    store_id_to_key(&id, key);
    assert_string_equal(key, "18446744073709551615/4294967295/4294967295/4294967295/7");
    restarted.started_us++;
    assert_true(store_id_same_table(&id, &restarted));
    assert_false(store_id_equal(&id, &restarted));
    later.timeline = 1;
    other.table = 1;
    assert_true(store_id_same_table(&id, &later));
    assert_false(store_id_equal(&id, &later));
    assert_false(store_id_same_table(&id, &other));
    assert_false(store_id_known(&(struct store_id){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_known_has_to_be_asked_for),
        cmocka_unit_test(test_only_where_the_feed_listens),
        cmocka_unit_test(test_earlier_timelines_are_of_no_use),
        cmocka_unit_test(test_an_operator_goes_back_to_an_earlier_timeline),
        cmocka_unit_test(test_standbys_and_views),
        cmocka_unit_test(test_where_lookups_are_answered),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
