/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include <apikeyd/thread/worker.h>

/* One call, and what was done with it, by whom. */
struct call {
    sem_t go, started, discarded; /* a call waits for `go` */
    pthread_t owner;
    bool beside;       /* it was made on a thread of its own, … */
    bool hears_signal; /* … to which a signal can be delivered */
    atomic_int done, discards;
};

static void work(void *arg)
{
    struct call *call = arg;
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    call->beside = !pthread_equal(call->owner, pthread_self());
    call->hears_signal = !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR2);
    sem_post(&call->started);
    while (sem_wait(&call->go) != 0)
        ;
}

static void done(void *arg)
{
    struct call *call = arg;

    assert_true(pthread_equal(call->owner, pthread_self()));
    call->done++;
}

static void discard(void *arg)
{
    struct call *call = arg;

    call->discards++;
    sem_post(&call->discarded);
}

static void call_init(struct call *call)
{
    *call = (struct call){.owner = pthread_self()};
    sem_init(&call->go, 0, 0);
    sem_init(&call->started, 0, 0);
    sem_init(&call->discarded, 0, 0);
}

static void test_it_is_told_on_the_loop(void **state)
{
    struct event_base *base = event_base_new();
    struct call call;

    (void)state;
    call_init(&call);
    assert_non_null(worker_start(base, work, done, discard, &call));
    sem_wait(&call.started);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(call.done, 0);
    sem_post(&call.go);
    event_base_dispatch(base); /* ends when there is nothing to wait for any more */
    assert_int_equal(call.done, 1);
    assert_int_equal(call.discards, 0);
    assert_true(call.beside);
    assert_false(call.hears_signal);
    event_base_free(base);
}

/* Its loop need not be there any more when a call that hangs comes back. */
static void test_abandoned_while_it_hangs(void **state)
{
    struct event_base *base = event_base_new();
    struct worker *worker;
    struct call call;

    (void)state;
    call_init(&call);
    worker = worker_start(base, work, done, discard, &call);
    assert_non_null(worker);
    sem_wait(&call.started);
    worker_abandon(worker);
    event_base_dispatch(base);
    event_base_free(base);
    assert_int_equal(call.discards, 0);
    sem_post(&call.go);
    sem_wait(&call.discarded);
    assert_int_equal(call.done, 0);
    assert_int_equal(call.discards, 1);
}

/* Whichever comes first, it is told or discarded, and once. */
static void test_abandoned_as_it_ends(void **state)
{
    struct event_base *base = event_base_new();

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct worker *worker;
        struct call call;

        call_init(&call);
        worker = worker_start(base, work, done, discard, &call);
        assert_non_null(worker);
        sem_post(&call.go);
        if (i % 2)
            sem_wait(&call.started);
        if (i % 4 == 3)
            usleep(200);
        worker_abandon(worker);
        event_base_loop(base, EVLOOP_NONBLOCK);
        sem_wait(&call.discarded);
        assert_int_equal(call.done, 0);
        assert_int_equal(call.discards, 1);
    }
    event_base_free(base);
}

/* Nobody waits for it, and nothing of it leaks: the sanitizers and valgrind tell. */
static void test_the_process_ends_while_it_hangs(void **state)
{
    static struct call call;
    struct event_base *base = event_base_new();
    struct worker *worker;

    (void)state;
    call_init(&call);
    worker = worker_start(base, work, done, discard, &call);
    assert_non_null(worker);
    sem_wait(&call.started);
    worker_abandon(worker);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_told_on_the_loop),
        cmocka_unit_test(test_abandoned_while_it_hangs),
        cmocka_unit_test(test_abandoned_as_it_ends),
        cmocka_unit_test(test_the_process_ends_while_it_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
