/* count_bucket: the hour, or the day, for which uses count now.
 *
 * PostgreSQL's clock says which one it is, as far as its answers tell (pg_reading), else this
 * host's. The tag is made anew when the bucket ends, when more is known of PostgreSQL's clock, and
 * when a clock was set, so that a tick costs one comparison. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_BUCKET_H
#define APIKEYD_COUNT_BUCKET_H

#include <apikeyd/auth/front_state.h>

/* Set the tag that counts for now. */
void count_bucket_turn(struct front *front);

#endif
