/* history: the last hour in steps of ten seconds, for the status page.
 *
 * Each sample of the metrics adds the counts since the sample before it to the step in which the
 * sample was taken. A step without a sample is not held: the daemon was paused or a thread stood
 * still, so that time is unknown, not zero. The first sample after such a gap covers the whole gap;
 * HISTORY_COVERED_US gives the time that a step covers.
 *
 * A history takes 41 KiB, allocated once, and reads no clock: times are µs since the daemon's start
 * and never go back. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HISTORY_H
#define APIKEYD_HISTORY_H

#include <stdint.h>

#include <apikeyd/model/metrics.h>

enum { HISTORY_STEPS = 360, HISTORY_STEP_SECONDS = 10 };

/* The figures of a step. -1: nothing was measured. */
enum history_figure {
    HISTORY_COVERED_US, /* the time that the counts are about; longer than a step after a gap */
    HISTORY_ALLOW,      /* checks answered */
    HISTORY_DENY_UNKNOWN,
    HISTORY_DENY_INACTIVE,
    HISTORY_DENY_EXPIRED,
    HISTORY_DENY_EARLY,
    HISTORY_UNAVAILABLE,
    HISTORY_FROM_MEMORY, /* of the checks answered */
    HISTORY_P50_US,      /* of all checks, wherever their answers come from; rounded up */
    HISTORY_P99_US,
    HISTORY_LAG_P99_US,    /* revocations: from the trigger to the enforcement; rounded up */
    HISTORY_USAGE_PENDING, /* keys; the maximum of the samples */
    HISTORY_FIGURES
};

struct history_step {
    int64_t number; /* counted from the daemon's start */
    int64_t figure[HISTORY_FIGURES];
};

struct history;

/* An empty history, or NULL when out of memory. */
struct history *history_new(void);
void history_free(struct history *history);

/* Add a sample: `total` holds the counts since the start, with their sums (metrics_sum()). */
void history_add(struct history *history, int64_t at_us, const struct metrics *total);

/* The numbers of the steps that may be held: from history_begin() up to, but without,
 * history_end(). The last one is still under way. */
int64_t history_begin(const struct history *history);
int64_t history_end(const struct history *history);

/* The step, or NULL when it has no sample or is older than an hour. */
const struct history_step *history_at(const struct history *history, int64_t number);

#endif
