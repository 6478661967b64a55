/* job_queue: runs jobs that may stand still, in order, in a thread of its own.
 *
 * The back thread posts jobs. The queue's thread runs one after the other, and each ends on the
 * back thread, in its event loop:
 *
 *     post ─▶ waiting ─▶ run() ─▶ ended ─▶ done(), once
 *             back       queue's           back
 *
 * From the post until `done` a job owns the data that it works on: no other code changes or frees
 * the data. Once the queue is freed, `done` has been called for every job, even for a job that a
 * disk still holds up. A job that never returns costs the jobs behind it, nothing else: the back
 * thread waits for the queue's thread only in job_queue_free(), and with a bound.
 *
 * Back thread only, except `run`.
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
    JOB_NEVER_RAN, /* the queue was freed first */
    JOB_RUNS_ON,   /* the queue was freed meanwhile: the job's data stays the job's forever */
};

/* The first member of a struct that holds the job's data. */
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

/* Returns how long the job under way has run, µs; 0: there is none. */
int64_t job_queue_busy_us(struct job_queue *queue);

/* Wait for the jobs to end, for `timeout_us` (monotonic) at most, and call `done` for each; `done`
 * must post no others then. NULL is no queue. False: a job runs on, and its data must outlive the
 * daemon. */
bool job_queue_free(struct job_queue *queue, int64_t timeout_us);

#endif
