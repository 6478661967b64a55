/* worker: one call that may block, made beside the event loop.
 *
 *     event loop ── worker_start ──▶ own thread: work(arg) ──▶ event loop: done(arg)
 *          └────── worker_abandon ─────────────────────────▶ own thread: discard(arg)
 *
 * For calls that have no asynchronous form, such as getaddrinfo(). A worker is one thread for one
 * call. The owner of an `arg` starts the next worker only after `done` of the last one, so a silent
 * name server costs one thread for each owner, however many attempts time out. A call that hangs
 * does not hold up the end of the process: the thread is detached.
 *
 * `arg` belongs to the thread from worker_start() until `done` or `discard` is called. All
 * functions are called on the thread of the event loop, `work` and perhaps `discard` on the
 * worker's.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_WORKER_H
#define APIKEYD_WORKER_H

#include <stdbool.h>

#include <event2/event.h>

struct worker;

/* Run work(arg) in a thread. Then the loop of `base` calls done(arg) once; the worker is already
 * freed by then. NULL when memory, descriptors or threads are short: nothing is called, and the
 * caller keeps `arg`. */
__attribute__((warn_unused_result)) struct worker *
worker_start(struct event_base *base, void (*work)(void *arg), void (*done)(void *arg),
             void (*discard)(void *arg), void *arg);

/* `done` will not be called any more. discard(arg) is called in its place, once, when the work has
 * ended: now, or later on the worker's thread. */
void worker_abandon(struct worker *worker);

/* Returns whether a worker's thread runs, abandoned or not. The process must then end by _exit(2):
 * libraries that the call is in (libkrb5 in libpq) destroy their locks in exit(3). */
bool workers_run(void);

#endif
