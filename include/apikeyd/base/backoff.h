/* backoff: when to try a failed service again.
 *
 * Doubling waits with full jitter over their upper half, so that several daemons do not reconnect
 * in step. Pure: time and randomness are parameters. Microseconds throughout.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BACKOFF_H
#define APIKEYD_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t first_us;
    int64_t max_us;
    int64_t next_us; /* 0 after a success */
};

/* The wait before the next try; each call without a reset in between doubles it. `random` is any
 * 32 random bits. */
int64_t backoff_next(struct backoff *backoff, uint32_t random);
void backoff_reset(struct backoff *backoff);

#endif
