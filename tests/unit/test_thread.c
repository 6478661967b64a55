/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <signal.h>
#include <unistd.h>

#include <apikeyd/thread/thread.h>

enum { LONG_US = 60000000 };

struct seen {
    sigset_t blocked;
};

static void *look_around(void *arg)
{
    struct seen *seen = arg;

    pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
    return NULL;
}

static void *read_until_closed(void *arg)
{
    char byte;

    (void)!read(*(int *)arg, &byte, 1);
    return NULL;
}

static void test_takes_no_signal_of_the_process(void **state)
{
    struct seen seen;
    sigset_t mine;
    pthread_t thread;

    (void)state;
    assert_int_equal(thread_start(&thread, "unit-look", look_around, &seen), 0);
    assert_true(thread_join_within(thread, LONG_US));
    assert_true(sigismember(&seen.blocked, SIGTERM));
    assert_true(sigismember(&seen.blocked, SIGHUP));
    assert_true(sigismember(&seen.blocked, SIGALRM));
    assert_false(sigismember(&seen.blocked, SIGSEGV));
    assert_false(sigismember(&seen.blocked, SIGBUS));
    /* The mask of the thread that made it is as before. */
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_false(sigismember(&mine, SIGTERM));
}

static void test_the_wait_has_a_bound(void **state)
{
    int ends[2];
    pthread_t thread;
    char name[16];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(thread_start(&thread, "unit-reader", read_until_closed, &ends[0]), 0);
    assert_false(thread_join_within(thread, 0));
    assert_false(thread_join_within(thread, 5000));
    assert_int_equal(pthread_getname_np(thread, name, sizeof name), 0);
    assert_string_equal(name, "unit-reader");
    close(ends[1]);
    assert_true(thread_join_within(thread, LONG_US));
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_no_signal_of_the_process),
        cmocka_unit_test(test_the_wait_has_a_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
