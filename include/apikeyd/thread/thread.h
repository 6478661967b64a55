/* thread: starts a thread, and waits for its end with a bound.
 *
 * A started thread blocks every signal that is meant for the process, so that the process's first
 * thread handles them all. Signals of a fault in the thread's own code (SIGSEGV, SIGBUS, …) stay
 * open: a handler must run in the thread that has the fault. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_THREAD_H
#define APIKEYD_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Run `run(arg)` in a thread that ps(1) shows as `name` (15 bytes at most). Returns 0 or -errno.
 * Any thread. */
__attribute__((warn_unused_result)) int thread_start(pthread_t *ret_thread, const char *name,
                                                     void *(*run)(void *), void *arg);

/* Wait until the thread has ended, for `timeout_us` (monotonic) at most. True: the thread has
 * ended, and `thread` is invalid. False: the thread runs on, and all that it uses must outlive
 * it: wait again, or leave the process. Any thread but `thread`. */
__attribute__((warn_unused_result)) bool thread_join_within(pthread_t thread, int64_t timeout_us);

/* Returns whether a thread of this process has that name; false where there is no /proc. Any
 * thread. */
bool thread_any_named(const char *name);

#endif
