/* job_queue: work that may stand still, done in order by a thread of its own.
 *
 * The back thread posts jobs. The queue's thread runs one after the other, and each ends on the
 * back thread, in its event loop:
 *
 *     post ─▶ waiting ─▶ run() ─▶ ended ─▶ done(), once
 *             back       queue's           back
 *
 * From the post until `done` a job owns what it works on: nobody else changes or frees that. Once
 * the queue is freed, `done` has been called for every job, also for one that a disk still holds
 * up. A job that never returns costs the jobs behind it, nothing else: the back thread waits for
 * the queue's thread only in job_queue_free(), and with a bound.
 *
 * Back thread only, but for `run`.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_JOB_QUEUE_H
#define APIKEYD_JOB_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event.h>

enum { JOBS_MAX = 16 };

struct job_queue;

enum job_end {
    JOB_RAN,
    JOB_NEVER_RAN, /* the queue was freed before */
    JOB_RUNS_ON,   /* the queue was freed meanwhile: what the job owns stays the job's for ever */
};

/* The first member of a struct that holds what the job works on. */
struct job {
    void (*run)(struct job *job);
    void (*done)(struct job *job, enum job_end end); /* may free the job */
    STAILQ_ENTRY(job) in_list;                       /* the queue's */
};

/* `name` is the thread's, 15 bytes at most. NULL when memory or threads are short. */
__attribute__((warn_unused_result)) struct job_queue *job_queue_new(struct event_base *base,
                                                                    const char *name);

/* False, and nothing has changed, while JOBS_MAX jobs wait. */
__attribute__((warn_unused_result)) bool job_queue_post(struct job_queue *queue, struct job *job);

/* How long the job under way has run by now, µs; 0: there is none. */
int64_t job_queue_busy_us(struct job_queue *queue);

/* Let the jobs end for `timeout_us` (monotonic) at most, and call `done` for each, which must post
 * no others then. NULL is no queue. False: a job runs on, and what it owns must outlive the
 * daemon. */
bool job_queue_free(struct job_queue *queue, int64_t timeout_us);

#endif
