/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "fair_queue.h"

static struct lookup lookups[2000];

static struct lookup *add(struct fair_queue *queue, size_t i, uint32_t connection_id,
                          int64_t deadline_us)
{
    lookups[i] =
        (struct lookup){.request.connection_id = connection_id, .deadline_us = deadline_us};
    fair_queue_add(queue, &lookups[i]);
    return &lookups[i];
}

static void test_in_the_order_of_coming(void **state)
{
    struct fair_queue queue;

    (void)state;
    fair_queue_init(&queue);
    assert_null(fair_queue_take(&queue));
    for (size_t i = 0; i < 10; i++)
        add(&queue, i, 7, 0);
    for (size_t i = 0; i < 10; i++) {
        assert_ptr_equal(fair_queue_first(&queue), &lookups[i]);
        assert_ptr_equal(fair_queue_take(&queue), &lookups[i]);
    }
    assert_int_equal(queue.len, 0);
    assert_null(fair_queue_first(&queue));
}

/* However many one connection has, the single one of another is next but one. */
static void test_connections_are_served_round_robin(void **state)
{
    struct fair_queue queue;
    struct lookup *single;
    size_t before = 0;

    (void)state;
    fair_queue_init(&queue);
    for (size_t i = 0; i < 1000; i++)
        add(&queue, i, 5, 0);
    single = add(&queue, 1000, 6, 0);
    while (fair_queue_take(&queue) != single)
        before++;
    assert_true(before <= 1);
    for (size_t left = 1000 - before; left > 0; left--)
        assert_non_null(fair_queue_take(&queue));
    assert_null(fair_queue_take(&queue));
}

static void test_the_most_urgent(void **state)
{
    struct fair_queue queue;

    (void)state;
    fair_queue_init(&queue);
    assert_null(fair_queue_most_urgent(&queue));
    add(&queue, 0, 1, 30);
    add(&queue, 1, 2, 10);
    add(&queue, 2, 2, 40);
    add(&queue, 3, 3, 20);
    for (int64_t deadline = 10; deadline <= 40; deadline += 10) {
        struct lookup *lookup = fair_queue_most_urgent(&queue);

        assert_int_equal(lookup->deadline_us, deadline);
        fair_queue_remove(&queue, lookup);
    }
    assert_int_equal(queue.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_order_of_coming),
        cmocka_unit_test(test_connections_are_served_round_robin),
        cmocka_unit_test(test_the_most_urgent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
