/* pg_clock: an upper bound of PostgreSQL's clock, read from this host's monotonic one.
 *
 * Verdicts in Redis carry their read time in PostgreSQL's clock. A host that reads one judges its
 * age by the latest that PostgreSQL's clock can be now, so a skewed host clock never makes a
 * verdict look younger than it is. Each query gives a sample: it was sent at `sent_us`, and the
 * server's clock said `server_us` at some later moment, so server − sent bounds the difference
 * from above. The least of the recent samples is used, widened by what clocks may drift.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_CLOCK_H
#define APIKEYD_PG_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct pg_clock {
    bool known;
    int64_t offset_us;     /* upper bound of (PostgreSQL's clock − monotonic) … */
    int64_t sampled_at_us; /* … as of this monotonic time */
};

/* A query sent at `sent_us` was answered at `received_us`, both monotonic; in between
 * PostgreSQL's clock read `server_us`. */
void pg_clock_sample(struct pg_clock *clock, int64_t sent_us, int64_t received_us,
                     int64_t server_us);

/* The monotonic time at which something PostgreSQL dated `server_us` was read, at the latest
 * bound; false while no sample is known. Never later than `now_us`. */
bool pg_clock_to_monotonic(const struct pg_clock *clock, int64_t server_us, int64_t now_us,
                           int64_t *ret_us);

#endif
