/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/monitor.h>

#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>

enum {
    ASKS_MAX = MAILBOX_RESERVE / 2, /* their answers come by the mailbox's reserve */
    SAMPLES = 11,                   /* the window is ten ticks */
};

static const int64_t front_late_us = 2000000;

struct ask {
    uint32_t id;
    int64_t asked_us;
    monitor_done *done;
    void *arg;
    TAILQ_ENTRY(ask) in_asks;
};

struct sample {
    int64_t at_us; /* monotonic */
    struct metrics metrics;
};

struct monitor {
    struct monitor_setup setup;
    struct event tick;
    TAILQ_HEAD(, ask) asks; /* in the order of their polls, which is the order of the answers */
    size_t ask_count;
    uint32_t last_id;
    bool polling;      /* the tick's own ask is under way, … */
    int64_t polled_us; /* … or when the last one began */
    int64_t started_us;
    size_t taken; /* samples, ever */
    struct sample sample[SAMPLES];
    struct history *history;
};

static void finish(struct monitor *monitor, struct ask *ask, const struct status_snapshot *snapshot)
{
    TAILQ_REMOVE(&monitor->asks, ask, in_asks);
    monitor->ask_count--;
    ask->done(ask->arg, snapshot);
    free(ask);
}

void monitor_ask(struct monitor *monitor, monitor_done *done, void *arg)
{
    struct ask *ask = monitor->ask_count < ASKS_MAX ? malloc(sizeof *ask) : NULL;

    if (!ask) {
        done(arg, NULL);
        return;
    }
    *ask = (struct ask){
        .id = ++monitor->last_id, .asked_us = clock_monotonic_us(), .done = done, .arg = arg};
    TAILQ_INSERT_TAIL(&monitor->asks, ask, in_asks);
    monitor->ask_count++;
    back_env_post(monitor->setup.env,
                  &(struct to_front){.type = TO_FRONT_STATS_POLL, .stats_poll = ask->id});
}

/* The oldest sample that there is. */
static const struct sample *window_start(const struct monitor *monitor)
{
    return &monitor->sample[monitor->taken < SAMPLES ? 0 : monitor->taken % SAMPLES];
}

void monitor_snapshot(struct monitor *monitor, const struct metrics *front,
                      struct status_snapshot *ret_snapshot)
{
    struct back_env *env = monitor->setup.env;
    const struct sample *start = window_start(monitor);
    int64_t now_us = clock_monotonic_us();

    *ret_snapshot = (struct status_snapshot){
        .total = *front,
        .uptime_us = now_us - monitor->started_us,
        .now_us = clock_wall_us(),
        .history = monitor->history,
    };
    metrics_add(&ret_snapshot->total, &env->metrics);
    ret_snapshot->total.value[METRIC_BACK_CPU] = (uint64_t)clock_read_us(CLOCK_THREAD_CPUTIME_ID);
    ret_snapshot->total.value[METRIC_PROCESS_START] =
        (uint64_t)(ret_snapshot->now_us - ret_snapshot->uptime_us);
    monitor->setup.look(monitor->setup.arg, ret_snapshot);
    metrics_sum(&ret_snapshot->total);
    if (monitor->taken == 0)
        return;
    ret_snapshot->recent = ret_snapshot->total;
    metrics_subtract(&ret_snapshot->recent, &start->metrics);
    ret_snapshot->window_us = now_us - start->at_us;
}

/* A late answer finds no waiting request. */
void monitor_answer(struct monitor *monitor, uint32_t id, const struct metrics *metrics)
{
    struct ask *ask = TAILQ_FIRST(&monitor->asks);
    struct status_snapshot snapshot;

    if (!ask || ask->id != id)
        return;
    if (metrics)
        monitor_snapshot(monitor, metrics, &snapshot);
    finish(monitor, ask, metrics ? &snapshot : NULL);
}

static void on_polled(void *arg, const struct status_snapshot *snapshot)
{
    struct monitor *monitor = arg;

    monitor->polling = false;
    if (!snapshot)
        return;
    struct sample *sample = &monitor->sample[monitor->taken++ % SAMPLES];
    sample->at_us = clock_monotonic_us();
    sample->metrics = snapshot->total;
    /* An answer that lay in the mailbox while this thread stood still is from an earlier time. */
    if (sample->at_us - monitor->polled_us <= front_late_us)
        history_add(monitor->history, snapshot->uptime_us, &snapshot->total);
    monitor->setup.on_alive(monitor->setup.arg, snapshot);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct monitor *monitor = arg;
    int64_t late_us = clock_monotonic_us() - front_late_us;

    (void)fd;
    (void)what;
    for (struct ask *ask; (ask = TAILQ_FIRST(&monitor->asks)) && ask->asked_us < late_us;)
        finish(monitor, ask, NULL);
    if (monitor->polling)
        return;
    monitor->polling = true;
    monitor->polled_us = clock_monotonic_us();
    monitor_ask(monitor, on_polled, monitor);
}

struct monitor *monitor_new(const struct monitor_setup *setup)
{
    struct monitor *monitor = calloc(1, sizeof *monitor);

    if (!monitor)
        return NULL;
    monitor->history = history_new();
    if (!monitor->history) {
        free(monitor);
        return NULL;
    }
    monitor->setup = *setup;
    monitor->started_us = clock_monotonic_us();
    TAILQ_INIT(&monitor->asks);
    event_assign(&monitor->tick, setup->env->base, -1, EV_PERSIST, on_tick, monitor);
    timer_start(&monitor->tick, setup->tick_us > 0 ? setup->tick_us : 1000000);
    on_tick(-1, 0, monitor);
    return monitor;
}

void monitor_free(struct monitor *monitor)
{
    if (!monitor)
        return;
    for (struct ask *ask; (ask = TAILQ_FIRST(&monitor->asks));)
        finish(monitor, ask, NULL);
    event_del(&monitor->tick);
    history_free(monitor->history);
    free(monitor);
}
