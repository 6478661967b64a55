/* rate_limit: at most so many events in any second.
 *
 * It remembers when the last events were, so the limit holds for each second, wherever that begins,
 * and may be changed at any time. Pure: time is a parameter, in microseconds, of one clock that
 * never stands at 0. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RATE_LIMIT_H
#define APIKEYD_RATE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RATE_LIMIT_MAX = 100 };

/* All zeros: no event yet. */
struct rate_limit {
    int64_t at_us[RATE_LIMIT_MAX]; /* a ring; 0: none */
    size_t next;
};

/* An event may be, and is counted. False with the time until one may be in *ret_wait_us.
 * `per_second` is from 1 to RATE_LIMIT_MAX. */
__attribute__((warn_unused_result)) bool
rate_limit_take(struct rate_limit *limit, size_t per_second, int64_t now_us, int64_t *ret_wait_us);

#endif
