/* pg_clock: bounds on PostgreSQL's clock, from this host's monotonic one.
 *
 * Verdicts in Redis carry their read time in PostgreSQL's clock. A host that reads such a verdict
 * computes its age from the latest possible reading of PostgreSQL's clock, so a skewed host clock
 * never makes a verdict look younger than it is. Each query gives a sample: it was sent at
 * `sent_us`, answered at `received_us`, and in between the server's clock said `server_us`; so
 * server − received and server − sent bound the difference. The narrowest recent sample is used.
 *
 * The two clocks may run at rates that differ by up to an eighth: chrony slews by a twelfth (its
 * maxslewrate, 83,333 ppm). So the bounds widen by an eighth of a sample's age, and a verdict may
 * be an eighth older than it seems. A sample that contradicts the bounds means that PostgreSQL's
 * clock was set, or that this host's stood still. If the server's clock was set back, timestamps
 * from before the step are ambiguous, and verdicts with such timestamps are not fresh. A small step
 * back fits within the bounds, so less is enough for doubt: a sample that lies below an earlier one
 * by more than clocks drift by themselves (a thousandth, and a millisecond). While the server's
 * clock is slewed back, timestamps from before the last sample are doubted too, which costs
 * lookups.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_CLOCK_H
#define APIKEYD_PG_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct pg_clock {
    bool known;
    int64_t max_us, max_at_us; /* upper bound of (PostgreSQL's clock − monotonic), and as of … */
    int64_t min_us, min_at_us; /* … which monotonic time; lower bound */
    int64_t doubtful_us; /* timestamps up to this one are ambiguous, as the clock stepped back */
    int64_t sampled_us;  /* when the last sample was received; 0: never */
};

/* Add a sample: a query sent at `sent_us` was answered at `received_us`, both monotonic; in between
 * PostgreSQL's clock read `server_us`. Returns how far the server's clock is ahead of the upper
 * bound, in microseconds, or 0. */
int64_t pg_clock_sample(struct pg_clock *clock, int64_t sent_us, int64_t received_us,
                        int64_t server_us);

/* Set *ret_us to the earliest monotonic time of an event that PostgreSQL dated `server_us`. False
 * when that is unknown: no sample yet, a future time, or an ambiguous timestamp. */
bool pg_clock_to_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us,
                           int64_t *ret_us);

/* Returns the latest possible reading of PostgreSQL's clock at `now_us`; 0 before the first
 * sample. */
int64_t pg_clock_latest_reading(const struct pg_clock *clock, int64_t now_us);

/* Returns the latest monotonic time of an event that PostgreSQL dated `server_us`; `now_us` when
 * that is unknown. */
int64_t pg_clock_latest_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us);

/* As pg_clock_to_monotonic(), as an estimate for people; false before the first sample. */
bool pg_clock_estimate(const struct pg_clock *clock, int64_t server_us, int64_t *ret_us);

#endif
