/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/job_queue.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/thread.h>

STAILQ_HEAD(job_list, job);

struct job_queue {
    pthread_mutex_t lock; /* held for a few instructions at a time, never while a job runs */
    pthread_cond_t news;
    struct job_list waiting, ended;
    size_t len; /* of `waiting` */
    struct job *under_way;
    int64_t since_us; /* when that began */
    bool closing;     /* the thread leaves when nothing waits, … */
    bool left;        /* … and has left, … */
    bool abandoned;   /* … or is left alone with its job, and with the queue's memory */
    pthread_t thread;
    int wake_fd; /* readable when a job has ended */
    struct event wake;
};

static void destroy(struct job_queue *queue)
{
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->news);
    if (queue->wake_fd >= 0)
        close(queue->wake_fd);
    free(queue);
}

/* Returns the next job, or NULL when the thread must end. The lock is held. */
static struct job *take(struct job_queue *queue)
{
    while (STAILQ_EMPTY(&queue->waiting) && !queue->closing)
        pthread_cond_wait(&queue->news, &queue->lock);
    struct job *job = STAILQ_FIRST(&queue->waiting);
    if (job) {
        STAILQ_REMOVE_HEAD(&queue->waiting, in_list);
        queue->len--;
        queue->since_us = clock_monotonic_us();
    }
    queue->under_way = job;
    return job;
}

static void *run(void *arg)
{
    struct job_queue *queue = arg;
    struct job *job;

    pthread_mutex_lock(&queue->lock);
    while ((job = take(queue))) {
        pthread_mutex_unlock(&queue->lock);
        job->run(job);
        pthread_mutex_lock(&queue->lock);
        if (queue->abandoned)
            break;
        STAILQ_INSERT_TAIL(&queue->ended, job, in_list);
        queue->under_way = NULL;
        (void)eventfd_write(queue->wake_fd, 1);
    }
    queue->left = true;
    bool abandoned = queue->abandoned;
    pthread_mutex_unlock(&queue->lock);
    if (abandoned)
        destroy(queue);
    return NULL;
}

static void end_all(struct job_list *list, enum job_end end)
{
    struct job *job;

    while ((job = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, in_list);
        job->done(job, end);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct job_queue *queue = arg;
    struct job_list ended = STAILQ_HEAD_INITIALIZER(ended);
    eventfd_t ignored;

    (void)what;
    (void)eventfd_read(fd, &ignored);
    pthread_mutex_lock(&queue->lock);
    STAILQ_CONCAT(&ended, &queue->ended);
    pthread_mutex_unlock(&queue->lock);
    end_all(&ended, JOB_RAN);
}

struct job_queue *job_queue_new(struct event_base *base, const char *name)
{
    struct job_queue *queue = calloc(1, sizeof *queue);

    if (!queue)
        return NULL;
    STAILQ_INIT(&queue->waiting);
    STAILQ_INIT(&queue->ended);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->news, NULL);
    queue->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (queue->wake_fd < 0 || thread_start(&queue->thread, name, run, queue) < 0) {
        destroy(queue);
        return NULL;
    }
    event_assign(&queue->wake, base, queue->wake_fd, EV_READ | EV_PERSIST, on_wake, queue);
    event_add(&queue->wake, NULL);
    return queue;
}

bool job_queue_post(struct job_queue *queue, struct job *job)
{
    pthread_mutex_lock(&queue->lock);
    bool room = queue->len < JOBS_MAX;
    if (room) {
        STAILQ_INSERT_TAIL(&queue->waiting, job, in_list);
        queue->len++;
        pthread_cond_signal(&queue->news);
    }
    pthread_mutex_unlock(&queue->lock);
    return room;
}

int64_t job_queue_busy_us(struct job_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    int64_t busy_us = queue->under_way ? clock_monotonic_us() - queue->since_us : 0;
    pthread_mutex_unlock(&queue->lock);
    return busy_us;
}

/* The jobs left after the wait for the thread. */
struct rest {
    struct job_list ended, waiting;
    struct job *under_way;
};

/* Take the jobs that are left. A thread that has not ended by now keeps the job under way, and the
 * queue's memory: the thread frees that itself. */
static void part(struct job_queue *queue, bool joined, struct rest *ret)
{
    STAILQ_INIT(&ret->ended);
    STAILQ_INIT(&ret->waiting);
    pthread_mutex_lock(&queue->lock);
    STAILQ_CONCAT(&ret->ended, &queue->ended);
    STAILQ_CONCAT(&ret->waiting, &queue->waiting);
    ret->under_way = queue->under_way;
    queue->abandoned = !queue->left;
    bool abandoned = queue->abandoned;
    if (!joined)
        pthread_detach(queue->thread);
    pthread_mutex_unlock(&queue->lock);
    if (!abandoned)
        destroy(queue);
}

bool job_queue_free(struct job_queue *queue, int64_t timeout_us)
{
    struct rest rest;

    if (!queue)
        return true;
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_signal(&queue->news);
    pthread_mutex_unlock(&queue->lock);
    bool joined = thread_join_within(queue->thread, timeout_us);
    event_del(&queue->wake);
    part(queue, joined, &rest);
    end_all(&rest.ended, JOB_RAN);
    if (rest.under_way)
        rest.under_way->done(rest.under_way, JOB_RUNS_ON);
    end_all(&rest.waiting, JOB_NEVER_RAN);
    return !rest.under_way;
}
