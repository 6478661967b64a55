/* SPDX-License-Identifier: MIT */
#include "ledger_keeper.h"

#include <apikeyd/base/state_file.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>

static const int64_t look_interval_us = 1000000;

/* Memory goes back with each flush, and is taken again with the next key: one lack of room. */
static const int64_t crowded_memory_us = 3000000;

static const char *const state_text[] = {
    [LEDGER_SAFE] = "usage is safe in it again",
    [LEDGER_CROWDED] = "its file system has no room; usage that finds none is kept in memory, and "
                       "is lost if the daemon is killed",
    [LEDGER_NAMELESS] = "the file was removed, renamed or replaced; a new one takes its place",
    [LEDGER_BROKEN] = "the file was cut short or written to; what it has lost is counted in "
                      "usage_lost, and a new one takes its place",
    [LEDGER_MEMORY] = "there is none; usage is kept in memory, and is lost if the daemon is killed",
};

static const char *path_of(const struct ledger_keeper *keeper)
{
    return keeper->env->config->usage_ledger;
}

static void look(struct ledger_keeper *keeper)
{
    enum ledger_state state = ledger_look(keeper->ledger);
    int64_t now_us = clock_monotonic_us();

    if (state == LEDGER_CROWDED)
        keeper->crowded_us = now_us;
    else if (state == LEDGER_SAFE && keeper->crowded_us != TIME_NEVER &&
             now_us - keeper->crowded_us < crowded_memory_us)
        state = LEDGER_CROWDED;
    if (state == keeper->state)
        return;
    keeper->state = state;
    log_write(&keeper->env->log, state == LEDGER_SAFE ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
              "usage.ledger %s: %s", path_of(keeper), state_text[state]);
}

void ledger_keeper_judged(struct back_env *env, const char *file, const struct usage_judged *judged)
{
    env->metrics.value[METRIC_USAGE_CLAMPED] += judged->clamped;
    env->metrics.value[METRIC_USAGE_LOST] += judged->dropped;
    env->metrics.value[METRIC_COUNTS_LOST] += judged->uncounted;
    if (judged->clamped > 0)
        log_warning(
            &env->log,
            "%s: %zu uses are later than now, because a clock was ahead; such uses count as now",
            file, judged->clamped);
    if (judged->dropped > 0)
        log_warning(&env->log, "%s: %zu entries are damaged; the daemon skips them", file,
                    judged->dropped);
}

static void tell_renewal(struct ledger_keeper *keeper, const struct ledger_report *report)
{
    if (report->set_aside)
        log_warning(&keeper->env->log, "usage.ledger %s: %s; the file was set aside as %s",
                    path_of(keeper), report->damage, report->aside_path);
    ledger_keeper_judged(keeper->env, path_of(keeper), &report->judged);
    if (report->error < 0 && report->error != keeper->error)
        log_warning(
            &keeper->env->log,
            "usage.ledger %s: %s; usage is lost if the daemon is killed; tried again every second",
            path_of(keeper), state_file_fault(report->error));
    keeper->error = report->error;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct ledger_keeper *keeper = arg;
    struct ledger_report report;

    (void)fd;
    (void)what;
    look(keeper);
    bool at_hand = ledger_renew(keeper->ledger, clock_wall_us(), &report);
    tell_renewal(keeper, &report);
    if (at_hand)
        keeper->at_hand(keeper->arg);
}

void ledger_keeper_init(struct ledger_keeper *keeper, struct back_env *env, struct ledger *ledger,
                        void (*at_hand)(void *arg), void *arg)
{
    *keeper = (struct ledger_keeper){
        .env = env,
        .ledger = ledger,
        .at_hand = at_hand,
        .arg = arg,
        .state = ledger_look(ledger), /* told by the start */
        .crowded_us = TIME_NEVER,
    };
    event_assign(&keeper->timer, env->base, -1, EV_PERSIST, on_timer, keeper);
    timer_start(&keeper->timer, look_interval_us);
}

void ledger_keeper_done(struct ledger_keeper *keeper)
{
    event_del(&keeper->timer);
}

void ledger_keeper_count(struct ledger_keeper *keeper, const struct ledger_half *half)
{
    size_t lost = ledger_half_lost(half);

    keeper->env->metrics.value[METRIC_USAGE_LOST] += lost;
    if (lost > 0)
        log_warning(&keeper->env->log,
                    "usage.ledger %s: last_used of up to %zu keys is lost with the file",
                    path_of(keeper), lost);
}

struct ledger_half *ledger_keeper_succeed(struct ledger_keeper *keeper, struct usage_batch *pending)
{
    struct ledger_half *half = ledger_succeed(keeper->ledger, pending);

    keeper->env->metrics.value[METRIC_LEDGER_REPAIRS]++;
    look(keeper);
    return half;
}
