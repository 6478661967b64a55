/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <apikeyd/model/mailbox.h>

enum { MESSAGES = 200000, SLOTS = 64 };

struct message {
    uint64_t number, copy;
};

static void *produce(void *arg)
{
    struct ring *ring = arg;

    for (uint64_t i = 0; i < MESSAGES; i++) {
        struct message message = {i, ~i};

        while (!ring_push(ring, &message, sizeof message, 0))
            sched_yield();
    }
    return NULL;
}

static void test_everything_arrives_in_order(void **state)
{
    struct ring *ring = ring_new(SLOTS, sizeof(struct message));
    struct message message;
    pthread_t producer;

    (void)state;
    assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        while (!ring_pop(ring, &message))
            sched_yield();
        assert_int_equal(message.number, i);
        assert_int_equal(message.copy, ~i);
    }
    assert_false(ring_pop(ring, &message));
    pthread_join(producer, NULL);
    ring_free(ring);
}

static void test_full_and_reserve(void **state)
{
    struct ring *ring = ring_new(8, sizeof(int));
    int number = 0;

    (void)state;
    while (ring_push(ring, &number, sizeof number, 3))
        number++;
    assert_int_equal(number, 5);
    while (ring_push(ring, &number, sizeof number, 0))
        number++;
    assert_int_equal(number, 8);
    for (int expected = 0; expected < 8; expected++) {
        assert_true(ring_pop(ring, &number));
        assert_int_equal(number, expected);
    }
    assert_false(ring_pop(ring, &number));
    ring_free(ring);
}

static void test_one_wake_a_burst(void **state)
{
    struct mailbox mailbox;
    uint64_t count = 0;

    (void)state;
    assert_int_equal(mailbox_init(&mailbox, 16, sizeof(int)), 0);
    mailbox_wake(&mailbox); /* nothing was posted */
    assert_int_equal(read(mailbox.wake_fd, &count, sizeof count), -1);
    for (int i = 0; i < 10; i++)
        assert_true(mailbox_post(&mailbox, &i, sizeof i));
    mailbox_wake(&mailbox);
    mailbox_wake(&mailbox);
    assert_int_equal(read(mailbox.wake_fd, &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);
    mailbox_done(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_arrives_in_order),
        cmocka_unit_test(test_full_and_reserve),
        cmocka_unit_test(test_one_wake_a_burst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
