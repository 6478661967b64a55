/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <stdlib.h>

#include "count_parts.h"

enum { ROWS = 25000 };

/* A table that refuses statements with a row of these; it adds each other row at most once. */
struct table {
    bool bad[ROWS], added[ROWS], passed[ROWS];
    size_t statements;
};

/* Send the batch until all of it is done, or it has to wait. Returns whether it is done. */
static bool send_all(struct table *table, struct count_batch *batch)
{
    struct count_parts parts = {0};

    while (batch->done < batch->len) {
        size_t from = batch->done + batch->refused, end = count_parts_end(&parts, batch);
        bool refused = false;

        assert_in_range(end, from, batch->len);
        assert_true(end - from <= COUNT_CHUNK);
        table->statements++;
        for (size_t i = from; i < end; i++)
            refused = refused || table->bad[i];
        if (refused) {
            if (!count_parts_refuse(&parts, batch, end))
                return false;
            continue;
        }
        for (size_t i = batch->done; i < end; i++) {
            assert_false(table->added[i] || table->passed[i]);
            *(i < from ? &table->passed[i] : &table->added[i]) = true;
        }
        count_parts_take(&parts, batch, end);
    }
    return true;
}

static void test_only_refused_rows_are_passed_over(void **state)
{
    static const size_t bad[] = {0, 1, 77, 9999, 10000, 20001, ROWS - 2, ROWS - 1};
    struct table *table = calloc(1, sizeof *table);
    struct count_batch batch = {.first = 1, .last = 1, .len = ROWS};

    (void)state;
    assert_non_null(table);
    assert_true(count_parts_several(&batch));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        table->bad[bad[i]] = true;
    assert_true(send_all(table, &batch));
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(table->added[i], !table->bad[i]);
        assert_int_equal(table->passed[i], table->bad[i]);
    }
    assert_in_range(table->statements, 3, 400);
    free(table);
}

/* Then the table may be at fault. */
static void test_a_table_that_takes_nothing_is_waited_for(void **state)
{
    static const size_t lens[] = {1, 2, 3, REFUSED_MAX, REFUSED_MAX + 1, ROWS};
    struct table *table = calloc(1, sizeof *table);

    (void)state;
    assert_non_null(table);
    memset(table->bad, true, sizeof table->bad);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct count_batch batch = {.first = 1, .last = 1, .len = lens[i]};

        assert_false(send_all(table, &batch));
        assert_int_equal(batch.done, 0);
        assert_int_equal(batch.refused, 0);
        assert_true(count_parts_several(&batch));
    }
    /* It begins to take rows; then no longer. */
    struct count_batch batch = {.first = 1, .last = 1, .len = ROWS};
    memset(table->bad, false, 100);
    assert_false(send_all(table, &batch));
    assert_int_equal(batch.done, 100);
    memset(table->bad, false, sizeof table->bad);
    assert_true(send_all(table, &batch));
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_refused_rows_are_passed_over),
        cmocka_unit_test(test_a_table_that_takes_nothing_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
