/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/worker.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event_struct.h>

#include <apikeyd/thread/thread.h>

static const char thread_name[] = "apikeyd-worker";

struct worker {
    void (*work)(void *arg);
    void (*done)(void *arg);
    void (*discard)(void *arg);
    void *arg;
    int ended_fd;       /* eventfd: the work has ended */
    struct event ended; /* the loop's */
    bool abandoned;
    atomic_int holders; /* the loop and the thread: the last one to release frees */
};

static void let_go(struct worker *worker)
{
    if (atomic_fetch_sub_explicit(&worker->holders, 1, memory_order_acq_rel) > 1)
        return;
    if (worker->abandoned)
        worker->discard(worker->arg);
    close(worker->ended_fd);
    free(worker);
}

static void *run(void *arg)
{
    struct worker *worker = arg;

    worker->work(worker->arg);
    (void)eventfd_write(worker->ended_fd, 1);
    let_go(worker);
    return NULL;
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    void (*done)(void *arg) = worker->done;
    void *done_arg = worker->arg;
    eventfd_t ignored;

    (void)what;
    (void)eventfd_read(fd, &ignored);
    let_go(worker);
    done(done_arg);
}

struct worker *worker_start(struct event_base *base, void (*work)(void *arg),
                            void (*done)(void *arg), void (*discard)(void *arg), void *arg)
{
    struct worker *worker = calloc(1, sizeof *worker);
    pthread_t thread;

    if (!worker)
        return NULL;
    *worker = (struct worker){.work = work, .done = done, .discard = discard, .arg = arg};
    atomic_init(&worker->holders, 2);
    worker->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->ended_fd < 0) {
        free(worker);
        return NULL;
    }
    event_assign(&worker->ended, base, worker->ended_fd, EV_READ, on_ended, worker);
    event_add(&worker->ended, NULL);
    if (thread_start(&thread, thread_name, run, worker) < 0) {
        event_del(&worker->ended);
        close(worker->ended_fd);
        free(worker);
        return NULL;
    }
    pthread_detach(thread);
    return worker;
}

void worker_abandon(struct worker *worker)
{
    worker->abandoned = true;
    event_del(&worker->ended);
    let_go(worker);
}

bool workers_run(void)
{
    return thread_any_named(thread_name);
}
