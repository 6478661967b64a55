/* admission: how many lookups one client may have, so that a flood of misses leaves room for
 * others.
 *
 * Both bounds shrink as room does (A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds",
 * 1998), so there is always some left for a process that comes anew:
 *
 * - A connection may wait for half as many lookups as there is still room for: a single one for a
 *   third of max_pending, each of a hundred for a hundredth. At its bound a connection waits with
 *   its next request; nothing is refused.
 * - A lookup goes on after its last waiter has left: WITHIN has passed, or the client has hung up.
 *   So a process, with all of its connections, may have four times as many lookups in flight as
 *   there is room for: a single one four fifths of max_pending. Beyond that the lookup is refused.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ADMISSION_H
#define APIKEYD_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Processes are told apart by a hash. */
enum { ADMISSION_PROCESSES = 1024 };

struct admission {
    size_t max; /* lookups in flight, of all */
    size_t len; /* those that are; from keys in memory there may be more than `max` */
    uint32_t in_flight[ADMISSION_PROCESSES];
};

/* Lookups that there is still room for. */
static inline size_t admission_room(const struct admission *admission)
{
    return admission->len < admission->max ? admission->max - admission->len : 0;
}

/* How many lookups one connection may wait for; at least 1. */
static inline size_t admission_connection_max(const struct admission *admission)
{
    return 1 + admission_room(admission) / 2;
}

/* Whether a lookup for the process has to be refused. */
static inline bool admission_refuses(const struct admission *admission, uint32_t process_id)
{
    return admission->len >= admission->max ||
           admission->in_flight[process_id % ADMISSION_PROCESSES] > 4 * admission_room(admission);
}

/* A lookup for the process begins, or has ended. */
static inline void admission_begin(struct admission *admission, uint32_t process_id)
{
    admission->len++;
    admission->in_flight[process_id % ADMISSION_PROCESSES]++;
}

static inline void admission_end(struct admission *admission, uint32_t process_id)
{
    admission->len--;
    admission->in_flight[process_id % ADMISSION_PROCESSES]--;
}

#endif
