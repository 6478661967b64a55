/* pg_clock: what PostgreSQL's clock says, bounded from this host's monotonic one.
 *
 * Verdicts in Redis carry their read time in PostgreSQL's clock. A host that reads one judges its
 * age by the latest that PostgreSQL's clock can be now, so a skewed host clock never makes a
 * verdict look younger than it is. Each query gives a sample: it was sent at `sent_us`, answered
 * at `received_us`, and in between the server's clock said `server_us`; so server − received and
 * server − sent bound the difference. The narrowest of the recent samples is used.
 *
 * The two clocks may run at rates that differ by up to an eighth: chrony slews by a twelfth (its
 * maxslewrate, 83,333 ppm). So the bounds widen by an eighth of a sample's age, and a verdict may
 * be older by an eighth of what it seems. A sample that contradicts them means that PostgreSQL's
 * clock was set, or that this host's stood still. If the server's was set back, what was dated
 * before then cannot be told from what is dated since, and is not fresh. A step back may hide
 * in those bounds, so to doubt takes less: a sample that lies below an earlier one by more than
 * clocks drift by themselves (a thousandth, and a millisecond). While the server's clock is slewed
 * back, what was dated before the last sample is doubted too, which costs lookups.
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
};

/* A query sent at `sent_us` was answered at `received_us`, both monotonic; in between
 * PostgreSQL's clock read `server_us`. Returns by how much the server's clock has moved ahead of
 * what was possible, in microseconds, or 0. */
int64_t pg_clock_sample(struct pg_clock *clock, int64_t sent_us, int64_t received_us,
                        int64_t server_us);

/* The earliest monotonic time at which something that PostgreSQL dated `server_us` can have
 * happened. False when that cannot be told: no sample yet, a time to come, or one that a clock
 * since set back may have shown. */
bool pg_clock_to_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us,
                           int64_t *ret_us);

/* The latest that PostgreSQL's clock can read at `now_us`; 0 when there was no sample yet. */
int64_t pg_clock_latest_reading(const struct pg_clock *clock, int64_t now_us);

/* The latest monotonic time at which something that PostgreSQL dated `server_us` can have happened:
 * `now_us` where that cannot be told. */
int64_t pg_clock_latest_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us);

/* The same as an estimate, for people; false when there was no sample yet. */
bool pg_clock_estimate(const struct pg_clock *clock, int64_t server_us, int64_t *ret_us);

#endif
