/* admission: how many lookups one client may have, so that a flood of misses leaves room for
 * others.
 *
 * Both bounds shrink as room does (A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds",
 * 1998), so there is always some left for one that comes anew:
 *
 * - A connection may wait for half as many lookups as there is still room for: a single one for a
 *   third of max_pending, each of a hundred for a hundredth. Who has its share waits with its next
 *   request, and is refused nothing.
 * - A lookup goes on when nobody waits for it any more, after WITHIN or when the client has hung
 *   up. So a process, with all of its connections, may have four times as many in flight as there
 * is room for: a single one four fifths of max_pending. Beyond that it is refused.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ADMISSION_H
#define APIKEYD_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Processes are told apart by a hash of who they are. */
enum { SHARE_CALLERS = 1024 };

struct share {
    size_t most; /* lookups in flight, of all */
    size_t len;  /* those that are; from keys in memory there may be more than `most` */
    uint32_t in_flight[SHARE_CALLERS];
};

/* Lookups that there is still room for. */
static inline size_t share_room(const struct share *share)
{
    return share->len < share->most ? share->most - share->len : 0;
}

/* How many lookups one connection may wait for; at least 1. */
static inline size_t share_of_connection(const struct share *share)
{
    return 1 + share_room(share) / 2;
}

/* Whether a lookup for `caller` has to be refused. */
static inline bool share_used_up(const struct share *share, uint32_t caller)
{
    return share->len >= share->most ||
           share->in_flight[caller % SHARE_CALLERS] > 4 * share_room(share);
}

/* A lookup for `caller` begins, or has ended. */
static inline void share_take(struct share *share, uint32_t caller)
{
    share->len++;
    share->in_flight[caller % SHARE_CALLERS]++;
}

static inline void share_return(struct share *share, uint32_t caller)
{
    share->len--;
    share->in_flight[caller % SHARE_CALLERS]--;
}

#endif
