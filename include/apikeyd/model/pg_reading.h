/* pg_reading: what PostgreSQL's clock reads now, as closely as its answers tell.
 *
 * The windows of keys (key_window) are judged by PostgreSQL's clock. This host's wall clock plays
 * no part. Each answered query gives bounds on the difference between PostgreSQL's clock and this
 * host's monotonic one, as wide as the query took; what earlier answers told narrows them. Between
 * answers both bounds move apart by a thousandth of the time that passes: clocks that are neither
 * set nor slewed by more part by less. An answer that contradicts the bounds means that a clock was
 * set or is slewed. Then that answer alone counts, and for ten seconds the bounds move apart by an
 * eighth, which is more than clocks are slewed by (pg_clock). So while PostgreSQL answers, an error
 * lasts until the next answer or heartbeat.
 *
 * How it differs from pg_clock: that one dates what was read before, and is on the safe side of any
 * slewing, by an eighth of the age of an answer. For an end that has to be exact to some
 * milliseconds an eighth of a second each second is too much.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_READING_H
#define APIKEYD_PG_READING_H

#include <stdbool.h>
#include <stdint.h>

struct pg_reading {
    bool known;
    int64_t min_us, max_us; /* bounds of (PostgreSQL's clock − monotonic), … */
    int64_t at_us;          /* … as of this monotonic time */
    int64_t unsteady_us;    /* until then a clock may be slewed */
};

/* A query that was sent at `sent_us` was answered at `received_us`, both monotonic; in between
 * PostgreSQL's clock read `server_us`. Returns whether that tells more than half a millisecond
 * more than was known. */
bool pg_reading_sample(struct pg_reading *reading, int64_t sent_us, int64_t received_us,
                       int64_t server_us);

/* The earliest and the latest possible reading at `now_us`, µs since 1970. INT64_MIN and INT64_MAX
 * while nothing is known. */
int64_t pg_reading_earliest(const struct pg_reading *reading, int64_t now_us);
int64_t pg_reading_latest(const struct pg_reading *reading, int64_t now_us);

#endif
