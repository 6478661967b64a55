/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/conn/process_table.h>

enum { MOST = 10000 };

/* Processes that take connections until they are refused, as the listener does it. */
static size_t take_all(size_t *taken)
{
    size_t mine = 0;

    while (*taken < MOST && !process_over_share(mine, MOST - *taken)) {
        mine++;
        ++*taken;
    }
    return mine;
}

static void test_none_takes_the_last(void **state)
{
    size_t taken = 0;

    (void)state;
    assert_int_equal(take_all(&taken), 8750);
    assert_int_equal(take_all(&taken), 1094);
    for (int others = 0; others < 2; others++)
        assert_true(take_all(&taken) > 0);
    assert_true(taken < MOST);
}

static void test_few_connections_are_admitted(void **state)
{
    (void)state;
    assert_false(process_over_share(0, 1));
    assert_false(process_over_share(6, 1));
    assert_true(process_over_share(7, 1));
}

static void test_each_process_is_counted(void **state)
{
    struct process_table *table = calloc(1, sizeof *table);
    struct process *mine[3];

    (void)state;
    /* The second one falls into the first one's bucket. */
    mine[0] = process_table_join(table, 5);
    mine[1] = process_table_join(table, 5 + PROCESS_BUCKETS);
    mine[2] = process_table_join(table, 5);
    assert_ptr_equal(mine[0], mine[2]);
    assert_int_equal(process_table_connections(table, 5), 2);
    assert_int_equal(process_table_connections(table, 5 + PROCESS_BUCKETS), 1);
    assert_int_equal(process_table_connections(table, 6), 0);
    process_table_leave(mine[0]);
    assert_int_equal(process_table_connections(table, 5), 1);
    process_table_leave(mine[2]);
    assert_int_equal(process_table_connections(table, 5), 0);
    assert_int_equal(process_table_connections(table, 5 + PROCESS_BUCKETS), 1);
    process_table_leave(mine[1]);
    free(table);
}

static void test_the_unknown_are_one(void **state)
{
    struct process_table *table = calloc(1, sizeof *table);
    struct process *one = process_table_join(table, 0);
    struct process *two = process_table_join(table, -1);

    (void)state;
    assert_ptr_equal(one, two);
    assert_int_equal(process_table_connections(table, -1), 2);
    process_table_leave(one);
    process_table_leave(two);
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_takes_the_last),
        cmocka_unit_test(test_few_connections_are_admitted),
        cmocka_unit_test(test_each_process_is_counted),
        cmocka_unit_test(test_the_unknown_are_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
