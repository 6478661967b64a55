/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/history.h>

#include <stdlib.h>

struct history {
    struct metrics total; /* at the last sample */
    int64_t at_us;        /* when that was */
    int64_t end;          /* the newest step's number, plus one */
    /* How values are spread in the newest step. Older steps keep their quantiles only. */
    struct histogram checks, lag;
    struct history_step step[HISTORY_STEPS]; /* by number, modulo their count */
};

struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof *history);

    for (size_t i = 0; history && i < HISTORY_STEPS; i++)
        history->step[i].number = -1;
    return history;
}

void history_free(struct history *history)
{
    free(history);
}

int64_t history_begin(const struct history *history)
{
    return history->end > HISTORY_STEPS ? history->end - HISTORY_STEPS : 0;
}

int64_t history_end(const struct history *history)
{
    return history->end;
}

const struct history_step *history_at(const struct history *history, int64_t number)
{
    const struct history_step *step;

    if (number < history_begin(history) || number >= history->end)
        return NULL;
    step = &history->step[number % HISTORY_STEPS];
    return step->number == number ? step : NULL;
}

/* The step of that number, which is the newest one; begun when it is not there yet. */
static struct history_step *newest(struct history *history, int64_t number)
{
    struct history_step *step = &history->step[number % HISTORY_STEPS];

    if (step->number != number) {
        *step = (struct history_step){.number = number};
        history->checks = history->lag = (struct histogram){0};
        history->end = number + 1;
    }
    return step;
}

static int64_t quantile(const struct histogram *histogram, double share)
{
    double value = histogram_quantile(histogram, share);
    int64_t below = (int64_t)value;

    return below + ((double)below < value);
}

void history_add(struct history *history, int64_t at_us, const struct metrics *total)
{
    static const struct {
        enum history_figure figure;
        enum metric metric;
    } counts[] = {
        {HISTORY_ALLOW, METRIC_CHECKS_ALLOW},
        {HISTORY_DENY_UNKNOWN, METRIC_CHECKS_UNKNOWN},
        {HISTORY_DENY_INACTIVE, METRIC_CHECKS_INACTIVE},
        {HISTORY_DENY_EXPIRED, METRIC_CHECKS_EXPIRED},
        {HISTORY_DENY_EARLY, METRIC_CHECKS_EARLY},
        {HISTORY_UNAVAILABLE, METRIC_CHECKS_UNAVAILABLE},
        {HISTORY_FROM_MEMORY, METRIC_HITS_MEMORY},
    };
    int64_t number = at_us / (HISTORY_STEP_SECONDS * INT64_C(1000000));
    int64_t *figure = newest(history, number)->figure;
    int64_t pending = (int64_t)total->value[METRIC_USAGE_PENDING];
    struct metrics recent = *total;

    metrics_subtract(&recent, &history->total);
    figure[HISTORY_COVERED_US] += at_us - history->at_us;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        figure[counts[i].figure] += (int64_t)recent.value[counts[i].metric];
    for (enum histogram_id id = HISTOGRAM_CHECK_MEMORY; id <= HISTOGRAM_CHECK_NONE; id++)
        histogram_add(&history->checks, &recent.histogram[id]);
    histogram_add(&history->lag, &recent.histogram[HISTOGRAM_REVOCATION_LAG_US]);
    figure[HISTORY_P50_US] = quantile(&history->checks, 0.5);
    figure[HISTORY_P99_US] = quantile(&history->checks, 0.99);
    figure[HISTORY_LAG_P99_US] = quantile(&history->lag, 0.99);
    if (figure[HISTORY_USAGE_PENDING] < pending)
        figure[HISTORY_USAGE_PENDING] = pending;
    history->total = *total;
    history->at_us = at_us;
}
