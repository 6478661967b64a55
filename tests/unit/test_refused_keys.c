/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/refused_keys.h>

static const int64_t start_us = 1700000000000000;

/* A key of the set that `set` names, and its row. */
static struct digest key_of(uint64_t set, uint64_t number)
{
    return (struct digest){{set, number}};
}

static struct verdict refusal(int64_t row, enum verdict_kind kind)
{
    struct verdict verdict = {.kind = kind, .id_type = ID_BIGINT};

    row_id_from_bigint(row, &verdict.api_key_id);
    return verdict;
}

static void note(struct refused_keys *keys, uint64_t set, int64_t row, int64_t at_us)
{
    struct digest digest = key_of(set, (uint64_t)row);
    struct verdict verdict = refusal(row, VERDICT_DENY_INACTIVE);

    refused_keys_note(keys, &digest, &verdict, at_us);
}

static void test_counts_and_times(void **state)
{
    struct refused_keys *keys = refused_keys_new(ID_BIGINT, start_us);
    struct digest digest = key_of(7, 1);
    struct verdict expired = refusal(1, VERDICT_DENY_EXPIRED);

    (void)state;
    assert_non_null(keys);
    note(keys, 7, 1, start_us + 1);
    note(keys, 7, 2, start_us + 2);
    note(keys, 8, 3, start_us + 3);
    refused_keys_note(keys, &digest, &expired, start_us + 4);
    struct refused_keys *copy = refused_keys_copy(keys);
    assert_non_null(copy);
    assert_int_equal(refused_keys_sort(copy), 3);
    assert_int_equal(copy->since_us, start_us);
    assert_int_equal(copy->replaced, 0);
    assert_int_equal(row_id_to_bigint(&copy->key[0].api_key_id), 1);
    assert_int_equal(copy->key[0].count, 2);
    assert_int_equal(copy->key[0].kind, VERDICT_DENY_EXPIRED);
    assert_int_equal(copy->key[0].first_us, start_us + 1);
    assert_int_equal(copy->key[0].last_us, start_us + 4);
    assert_int_equal(row_id_to_bigint(&copy->key[1].api_key_id), 3);
    assert_int_equal(row_id_to_bigint(&copy->key[2].api_key_id), 2);
    free(copy);
    free(keys);
}

/* In a set that is full the key goes that was refused the longest ago, and no other set's. */
static void test_who_is_sent_stays(void **state)
{
    struct refused_keys *keys = refused_keys_new(ID_BIGINT, start_us);
    bool found[2 * REFUSED_WAYS + 1] = {false};

    (void)state;
    assert_non_null(keys);
    note(keys, 6, 1000, start_us);
    for (int64_t row = 1; row <= INT64_C(2) * REFUSED_WAYS; row++) {
        note(keys, 5, row, start_us + 2 * row);
        note(keys, 5, 1, start_us + 2 * row + 1); /* somebody goes on sending it */
    }
    assert_int_equal(keys->replaced, REFUSED_WAYS);
    assert_int_equal(refused_keys_sort(keys), REFUSED_WAYS + 1);
    assert_int_equal(keys->key[0].count, 2 * REFUSED_WAYS + 1);
    assert_int_equal(row_id_to_bigint(&keys->key[REFUSED_WAYS].api_key_id), 1000);
    for (int i = 0; i < REFUSED_WAYS; i++)
        found[row_id_to_bigint(&keys->key[i].api_key_id)] = true;
    assert_true(found[1]);
    for (int row = 2; row <= 2 * REFUSED_WAYS; row++)
        assert_int_equal(found[row], row > REFUSED_WAYS + 1);
    free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_times),
        cmocka_unit_test(test_who_is_sent_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
