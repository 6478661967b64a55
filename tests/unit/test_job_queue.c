/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <semaphore.h>
#include <unistd.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/job_queue.h>

enum { LONG_US = 60000000, SHORT_US = 20000 };

struct trial {
    struct job job;
    sem_t *begun, *go; /* NULL: neither told nor waited for */
    int *order;        /* of what has run: read and written by the queue's thread only */
    int place;
    int dones;
    enum job_end end;
};

static void run(struct job *job)
{
    struct trial *trial = (struct trial *)job;

    trial->place = ++*trial->order;
    if (trial->begun)
        sem_post(trial->begun);
    if (trial->go)
        sem_wait(trial->go);
}

static void done(struct job *job, enum job_end end)
{
    struct trial *trial = (struct trial *)job;

    trial->dones++;
    trial->end = end;
}

static struct trial *trial_new(int *order, sem_t *begun, sem_t *go)
{
    struct trial *trial = calloc(1, sizeof *trial);

    assert_non_null(trial);
    *trial =
        (struct trial){.job = {.run = run, .done = done}, .begun = begun, .go = go, .order = order};
    return trial;
}

static void turn_until(struct event_base *base, const int *count)
{
    int64_t end_us = clock_monotonic_us() + LONG_US;

    while (*count == 0 && clock_monotonic_us() < end_us) {
        event_base_loopexit(base, &(struct timeval){.tv_usec = 1000});
        event_base_dispatch(base);
    }
    assert_int_equal(*count, 1);
}

static void test_in_order_and_each_once(void **state)
{
    struct event_base *base = event_base_new();
    struct job_queue *queue = job_queue_new(base, "test-jobs");
    struct trial *trial[JOBS_MAX];
    int order = 0;

    (void)state;
    assert_non_null(queue);
    for (int i = 0; i < JOBS_MAX; i++) {
        trial[i] = trial_new(&order, NULL, NULL);
        assert_true(job_queue_post(queue, &trial[i]->job));
    }
    turn_until(base, &trial[JOBS_MAX - 1]->dones);
    assert_int_equal(job_queue_busy_us(queue), 0);
    assert_true(job_queue_free(queue, LONG_US));
    for (int i = 0; i < JOBS_MAX; i++) {
        assert_int_equal(trial[i]->place, i + 1);
        assert_int_equal(trial[i]->dones, 1);
        assert_int_equal(trial[i]->end, JOB_RAN);
        free(trial[i]);
    }
    event_base_free(base);
}

/* What waits behind a job that stands still is bounded, and how long that stands is told. */
static void test_bounded_and_told(void **state)
{
    struct event_base *base = event_base_new();
    struct job_queue *queue = job_queue_new(base, "test-jobs");
    struct trial *trial[JOBS_MAX + 1];
    sem_t begun, go;
    int order = 0;

    (void)state;
    sem_init(&begun, 0, 0);
    sem_init(&go, 0, 0);
    trial[0] = trial_new(&order, &begun, &go);
    assert_true(job_queue_post(queue, &trial[0]->job));
    sem_wait(&begun);
    for (int i = 1; i <= JOBS_MAX; i++) {
        trial[i] = trial_new(&order, NULL, NULL);
        assert_true(job_queue_post(queue, &trial[i]->job));
    }
    assert_false(job_queue_post(queue, &(struct job){.run = run}));
    usleep(SHORT_US);
    assert_true(job_queue_busy_us(queue) >= SHORT_US);
    assert_int_equal(trial[0]->dones, 0);
    sem_post(&go);
    /* The end is told by job_queue_free() too, for all that were posted. */
    assert_true(job_queue_free(queue, LONG_US));
    for (int i = 0; i <= JOBS_MAX; i++) {
        assert_int_equal(trial[i]->place, i + 1);
        assert_int_equal(trial[i]->dones, 1);
        assert_int_equal(trial[i]->end, JOB_RAN);
        free(trial[i]);
    }
    sem_destroy(&begun);
    sem_destroy(&go);
    event_base_free(base);
}

/* Nobody waits for a job that never returns, and what waits behind it never begins. */
static void test_a_job_that_stands_still_is_left_alone(void **state)
{
    struct event_base *base = event_base_new();
    struct job_queue *queue = job_queue_new(base, "test-jobs");
    static sem_t begun, go; /* the thread may still use these when the test has ended */
    static int order;
    static struct trial stands;
    struct trial *before = trial_new(&order, NULL, NULL);
    struct trial *behind = trial_new(&order, NULL, NULL);
    int64_t began_us = clock_monotonic_us();

    (void)state;
    sem_init(&begun, 0, 0);
    sem_init(&go, 0, 0);
    stands = (struct trial){
        .job = {.run = run, .done = done}, .begun = &begun, .go = &go, .order = &order};
    assert_true(job_queue_post(queue, &before->job));
    assert_true(job_queue_post(queue, &stands.job));
    assert_true(job_queue_post(queue, &behind->job));
    sem_wait(&begun);
    assert_false(job_queue_free(queue, SHORT_US));
    assert_true(clock_monotonic_us() - began_us < LONG_US);
    assert_int_equal(before->end, JOB_RAN);
    assert_int_equal(stands.end, JOB_RUNS_ON);
    assert_int_equal(behind->end, JOB_NEVER_RAN);
    assert_int_equal(before->dones + stands.dones + behind->dones, 3);
    sem_post(&go); /* it comes back, and finds nobody */
    usleep(SHORT_US);
    assert_int_equal(behind->place, 0);
    assert_int_equal(stands.dones, 1);
    free(before);
    free(behind);
    event_base_free(base);
}

static void test_no_queue(void **state)
{
    (void)state;
    assert_true(job_queue_free(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_and_each_once),
        cmocka_unit_test(test_bounded_and_told),
        cmocka_unit_test(test_a_job_that_stands_still_is_left_alone),
        cmocka_unit_test(test_no_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
