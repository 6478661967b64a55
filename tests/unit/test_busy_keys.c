/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/observe/busy_keys.h>

static const int64_t minute_us = 60000000;

static int setup(void **state)
{
    *state = busy_keys_new(ID_BIGINT);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    busy_keys_free(*state);
    return 0;
}

static void add(struct busy_keys *busy, int64_t key, uint64_t uses)
{
    struct row_id id;

    row_id_from_bigint(key, &id);
    busy_keys_add(busy, &id, uses);
}

static void expect(const struct busiest *busiest, size_t place, int64_t key, uint64_t uses)
{
    assert_true(place < busiest->len);
    assert_int_equal(row_id_to_bigint(&busiest->key[place].api_key_id), key);
    assert_int_equal(busiest->key[place].uses, uses);
}

static void test_few_keys_are_all_told(void **state)
{
    struct busy_keys *busy = *state;
    struct busiest busiest = busy_keys_look(busy, 0);

    assert_int_equal(busiest.len, 0);
    for (int round = 0; round < 5; round++) {
        for (int64_t key = 1; key <= 256; key++)
            add(busy, key, (uint64_t)key);
        busy_keys_end(busy, INT64_C(10) * round * minute_us);
    }
    busiest = busy_keys_look(busy, 41 * minute_us);
    assert_int_equal(busiest.type, ID_BIGINT);
    assert_int_equal(busiest.since_us, 0);
    assert_int_equal(busiest.unseen, 0);
    assert_int_equal(busiest.len, BUSIEST_MAX);
    for (size_t i = 0; i < BUSIEST_MAX; i++)
        expect(&busiest, i, 256 - (int64_t)i, 5 * (256 - i));
}

static void test_an_hour_ago_is_forgotten(void **state)
{
    struct busy_keys *busy = *state;
    struct busiest busiest;

    add(busy, 1, 100);
    busy_keys_end(busy, 9 * minute_us);
    add(busy, 2, 10);
    busy_keys_end(busy, 59 * minute_us);
    busiest = busy_keys_look(busy, 59 * minute_us);
    assert_int_equal(busiest.len, 2);
    expect(&busiest, 0, 1, 100);
    busiest = busy_keys_look(busy, 60 * minute_us);
    assert_int_equal(busiest.since_us, 10 * minute_us);
    assert_int_equal(busiest.len, 1);
    expect(&busiest, 0, 2, 10);
    add(busy, 3, 1); /* where the first window was */
    busy_keys_end(busy, 61 * minute_us);
    busiest = busy_keys_look(busy, 61 * minute_us);
    expect(&busiest, 0, 2, 10);
    expect(&busiest, 1, 3, 1);
    assert_int_equal(busiest.len, 2);
    busiest = busy_keys_look(busy, 1000 * minute_us);
    assert_int_equal(busiest.len, 0);
    assert_int_equal(busiest.since_us, 950 * minute_us);
}

enum { MANY = 5000 };

/* Rounds of many keys, most of which come and go. Of each key the told uses are at most the true
 * ones, and what is missing is at most `unseen`, which is few. */
static void test_the_bound_of_what_is_unseen(void **state)
{
    struct busy_keys *busy = *state;
    static uint64_t has[MANY];
    uint64_t all = 0, seed = 1;
    struct busiest busiest;

    memset(has, 0, sizeof has);
    for (int64_t round = 0; round < 50; round++) {
        for (int64_t key = 0; key < MANY; key++) {
            uint64_t uses = (uint64_t)(20000 / (key + 1));

            seed = seed * 6364136223846793005U + 1442695040888963407U;
            uses += seed >> 61;
            if ((seed >> 40) % 3 == 0 || uses == 0)
                continue;
            has[key] += uses;
            all += uses;
            add(busy, key, uses);
        }
        busy_keys_end(busy, round * minute_us);
    }
    busiest = busy_keys_look(busy, 50 * minute_us);
    assert_int_equal(busiest.len, BUSIEST_MAX);
    assert_true(busiest.unseen > 0);
    assert_true(busiest.unseen < all / 128);
    for (size_t i = 0; i < busiest.len; i++) {
        int64_t key = row_id_to_bigint(&busiest.key[i].api_key_id);

        assert_true(busiest.key[i].uses <= has[key]);
        assert_true(has[key] <= busiest.key[i].uses + busiest.unseen);
        has[key] = 0;
    }
    for (int64_t key = 0; key < MANY; key++)
        assert_true(has[key] <= busiest.key[busiest.len - 1].uses + busiest.unseen);
}

/* A round whose keys grow sorts most often. Keys that are all as busy are told of none. */
static void test_rounds_in_any_order(void **state)
{
    struct busy_keys *busy = *state;
    struct busiest busiest;

    for (int64_t key = 1; key <= MANY; key++)
        add(busy, key, (uint64_t)key);
    busy_keys_end(busy, 0);
    busiest = busy_keys_look(busy, 0);
    expect(&busiest, 0, MANY, MANY);
    assert_int_equal(busiest.unseen, MANY - 256);
    for (int64_t key = MANY; key > 0; key--)
        add(busy, -key, (uint64_t)key);
    busy_keys_end(busy, 0);
    busiest = busy_keys_look(busy, 0);
    assert_true(busiest.key[0].uses + busiest.unseen >= MANY);
    for (int64_t key = 1; key <= MANY; key++)
        add(busy, key, 7);
    busy_keys_end(busy, 11 * minute_us);
    busiest = busy_keys_look(busy, 69 * minute_us);
    assert_int_equal(busiest.unseen, 7);
    assert_int_equal(busiest.len, BUSIEST_MAX);
    for (size_t i = 0; i < busiest.len; i++)
        assert_int_equal(busiest.key[i].uses, 7);
}

/* A full window: a new key that has no room takes from those that have. */
static void test_few_are_unseen_beside_a_full_window(void **state)
{
    struct busy_keys *busy = *state;
    struct busiest busiest;
    uint64_t all = UINT64_C(256) * 1000;

    for (int64_t key = 1; key <= 256; key++)
        add(busy, key, 1000);
    busy_keys_end(busy, 0);
    for (int64_t key = 1001; key <= 1020; key++) {
        add(busy, key, 500);
        busy_keys_end(busy, 0);
        all += 500;
    }
    busiest = busy_keys_look(busy, 0);
    assert_true(busiest.unseen < all / 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_few_keys_are_all_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_hour_ago_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_bound_of_what_is_unseen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rounds_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_few_are_unseen_beside_a_full_window, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
