/* monitor: collects the daemon's metrics and state.
 *
 * Once a second the monitor asks the front thread for its metrics (a stats poll). The answer shows
 * that both threads are alive, is kept for the window over which rates and latencies are computed,
 * and is added to the history of the last hour. Each requested snapshot costs another poll. Back
 * thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_MONITOR_H
#define APIKEYD_MONITOR_H

#include <apikeyd/observe/status_snapshot.h>
#include <apikeyd/thread/back_env.h>

struct monitor;

struct monitor_setup {
    struct back_env *env;
    /* Fill in the back's gauges (into `total`) and every field that the monitor cannot know. */
    void (*look)(void *arg, struct status_snapshot *snapshot);
    /* Both threads are alive; once a tick. */
    void (*on_alive)(void *arg, const struct status_snapshot *snapshot);
    void *arg;
    int64_t tick_us; /* how often; 0: every second */
};

/* NULL when out of memory. */
struct monitor *monitor_new(const struct monitor_setup *setup);

/* Fails waiting requests: the front thread does not answer. */
void monitor_free(struct monitor *monitor);

/* Called once: with the snapshot, or with NULL when the front thread does not answer within two
 * seconds or too many requests wait. */
typedef void monitor_done(void *arg, const struct status_snapshot *snapshot);
void monitor_ask(struct monitor *monitor, monitor_done *done, void *arg);

/* A stats poll's answer; `metrics` may be NULL, and belongs to the caller. */
void monitor_answer(struct monitor *monitor, uint32_t id, const struct metrics *metrics);

/* Make the snapshot from the front thread's metrics. */
void monitor_snapshot(struct monitor *monitor, const struct metrics *front,
                      struct status_snapshot *ret_snapshot);

#endif
