/* admission: how many lookups one client may have, so that a flood of misses leaves room for
 * others.
 *
 * Both bounds shrink as room does (A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds",
 * 1998), so a new process always finds some room:
 *
 * - A connection may wait for half as many lookups as there is still room for: a single connection
 *   for a third of max_pending, each of a hundred for a hundredth. At its bound a connection's next
 *   request waits; nothing is refused.
 * - A lookup goes on after its last waiter has left: WITHIN has passed, or the client has hung up.
 *   So a process, with all of its connections, may have four times as many lookups in flight as
 *   there is room for: a single process four fifths of max_pending. A lookup beyond that is
 *   refused.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ADMISSION_H
#define APIKEYD_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A hash distinguishes processes. */
enum { ADMISSION_PROCESSES = 1024 };

struct admission {
    size_t max; /* lookups in flight, of all processes */
    size_t len; /* lookups in flight now; may exceed `max`, as keys in memory get more room */
    uint32_t in_flight[ADMISSION_PROCESSES];
};

/* Returns how many more lookups have room. */
static inline size_t admission_room(const struct admission *admission)
{
    return admission->len < admission->max ? admission->max - admission->len : 0;
}

/* Returns how many lookups one connection may wait for; at least 1. */
static inline size_t admission_connection_max(const struct admission *admission)
{
    return 1 + admission_room(admission) / 2;
}

/* Returns whether a lookup for the process has to be refused. */
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
