/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/backoff.h>

int64_t backoff_next(struct backoff *backoff, uint32_t random)
{
    int64_t wait_us = backoff->next_us > 0 ? backoff->next_us : backoff->first_us;

    backoff->next_us = wait_us * 2 < backoff->max_us ? wait_us * 2 : backoff->max_us;
    return wait_us / 2 + (int64_t)((uint64_t)(wait_us / 2) * random >> 32);
}

void backoff_reset(struct backoff *backoff)
{
    backoff->next_us = 0;
}
