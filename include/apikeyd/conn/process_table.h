/* process_table: how many connections each process has, so that none takes them all.
 *
 * A process may have seven times as many connections as stay free: a single process seven eighths
 * of listen.max_connections, each of two processes seven fifteenths. The bound shrinks with the
 * room (as in admission.h), so a new process finds room, however many came before. Processes that
 * the kernel cannot name (over TCP, or in another PID namespace) count as one. Front thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PROCESS_TABLE_H
#define APIKEYD_PROCESS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <sys/types.h>

enum { PROCESS_BUCKETS = 1024 };

/* A process that has connections. */
struct process {
    pid_t pid; /* 0: unknown */
    size_t connections;
    LIST_ENTRY(process) in_bucket;
};

struct process_table {
    LIST_HEAD(, process) bucket[PROCESS_BUCKETS]; /* all zero: empty */
};

/* Returns how many connections the process has. */
size_t process_table_connections(const struct process_table *table, pid_t pid);

/* A connection of the process is opened, or closed. NULL when out of memory. */
struct process *process_table_join(struct process_table *table, pid_t pid);
void process_table_leave(struct process *process);

/* Returns whether a process with `connections` has to be refused another one, while there is room
 * for `room` more. */
static inline bool process_over_share(size_t connections, size_t room)
{
    return connections >= 7 * room;
}

#endif
