/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/ledger/usage_batch.h>

static struct usage_slot slot(uint64_t key, int64_t last_used_us, uint64_t count)
{
    return (struct usage_slot){id_number(key).head, last_used_us, count};
}

static void test_merges_by_maximum(void **state)
{
    const struct usage_slot first[] = {slot(3, 30, 1), slot(1, 10, 1), slot(3, 35, 2)};
    const struct usage_slot second[] = {slot(2, 20, 1), slot(3, 31, 1), slot(1, 11, 4),
                                        slot(9, 0, 1)};
    struct usage_batch batch = {0};

    (void)state;
    assert_true(usage_batch_merge(&batch, first, 3));
    assert_int_equal(batch.len, 2);
    assert_true(usage_batch_merge(&batch, second, 4));
    assert_int_equal(batch.len, 3); /* an empty slot is no entry */
    const int64_t times[] = {11, 20, 35};
    const uint64_t counts[] = {5, 1, 4};
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(&batch.slots[i].api_key_id, &(struct row_id[]){id_number(i + 1)}[0],
                            16);
        assert_int_equal(batch.slots[i].last_used_us, times[i]);
        assert_int_equal(batch.slots[i].count, counts[i]);
    }
    usage_batch_free(&batch);
}

static void test_is_sorted_whatever_comes(void **state)
{
    struct usage_batch batch = {0};
    uint64_t random = 12345;

    (void)state;
    for (int round = 0; round < 50; round++) {
        struct usage_slot some[100];

        for (size_t i = 0; i < 100; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
            some[i] = slot(random >> 54, (int64_t)(random >> 40), 1);
        }
        assert_true(usage_batch_merge(&batch, some, 100));
        for (size_t i = 1; i < batch.len; i++)
            assert_true(id_head_order(&batch.slots[i - 1].api_key_id, &batch.slots[i].api_key_id) <
                        0);
    }
    usage_batch_free(&batch);
}

static void test_find_and_compact(void **state)
{
    const struct usage_slot some[] = {slot(1, 10, 1), slot(2, 20, 1), slot(3, 30, 1)};
    struct row_id two = id_number(2), four = id_number(4);
    struct usage_batch batch = {0};

    (void)state;
    assert_null(usage_batch_find(&batch, &two));
    assert_true(usage_batch_merge(&batch, some, 3));
    assert_int_equal(usage_batch_find(&batch, &two)->last_used_us, 20);
    assert_null(usage_batch_find(&batch, &four));
    usage_batch_find(&batch, &two)->last_used_us = 0;
    usage_batch_compact(&batch);
    assert_int_equal(batch.len, 2);
    assert_null(usage_batch_find(&batch, &two));
    usage_batch_free(&batch);
}

/* IDs that differ in their rests only, and a slot of 64 bytes. */
static void test_text_ids(void **state)
{
    enum { KEYS = 50 };
    struct usage_batch batch = {.type = ID_TEXT};
    struct row_id id;
    char text[40];

    (void)state;
    for (int i = 0; i < 3 * KEYS; i++) {
        struct usage_slot some[2] = {{.last_used_us = 10 + i, .count = 1}};

        snprintf(text, sizeof text, "the-same-sixteen-%d", i * 7 % KEYS);
        assert_true(row_id_from_text((struct slice){text, strlen(text)}, ID_TEXT, &id));
        usage_slot_set_id(some, ID_TEXT, &id);
        assert_true(usage_batch_merge(&batch, some, 1));
    }
    assert_int_equal(batch.len, KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        struct usage_slot *slot = usage_slot_at(batch.slots, i, ID_TEXT);
        struct row_id held = usage_slot_id(slot, ID_TEXT);

        assert_true(i == 0 || row_id_order(&id, &held) < 0);
        assert_ptr_equal(usage_batch_find(&batch, &held), slot);
        assert_int_equal(usage_batch_index(&batch, slot), i);
        assert_int_equal(slot->count, 3);
        assert_true(slot->last_used_us >= 10 + 2 * KEYS);
        id = held;
        slot->last_used_us = i % 2 ? slot->last_used_us : 0;
    }
    usage_batch_compact(&batch);
    assert_int_equal(batch.len, KEYS / 2);
    assert_non_null(usage_batch_find(&batch, &id));
    usage_batch_free(&batch);
    assert_int_equal(batch.type, ID_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_by_maximum),
        cmocka_unit_test(test_is_sorted_whatever_comes),
        cmocka_unit_test(test_find_and_compact),
        cmocka_unit_test(test_text_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
