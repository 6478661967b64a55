/* processors: sets of processors, and where threads may run.
 *
 * Two things limit a thread: its affinity, which everyone with the process's rights may change
 * (taskset(1)), and the process's cpuset (cgroups), which wins. Both may change at any time, so a
 * set that was read is the truth of that moment only. Any thread. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PROCESSORS_H
#define APIKEYD_PROCESSORS_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/option.h>

/* The kernel refuses to tell where a thread may run if it may know of more processors than the set
 * has room for. */
struct processors {
    cpu_set_t of[OPTION_PROCESSORS / CPU_SETSIZE];
};

static inline bool processors_have(const struct processors *set, int cpu)
{
    return CPU_ISSET_S((size_t)cpu, sizeof set->of, set->of);
}

static inline struct processors processors_only(int cpu)
{
    struct processors set = {0};

    CPU_SET_S((size_t)cpu, sizeof set.of, set.of);
    return set;
}

static inline void processors_remove(struct processors *set, int cpu)
{
    CPU_CLR_S((size_t)cpu, sizeof set->of, set->of);
}

static inline bool processors_equal(const struct processors *a, const struct processors *b)
{
    return CPU_EQUAL_S(sizeof a->of, a->of, b->of);
}

/* Every processor, whether the host has it or not. */
struct processors processors_all(void);

struct processors processors_common(const struct processors *a, const struct processors *b);

/* The processor with the highest number, or -1. */
__attribute__((warn_unused_result)) int processors_last(const struct processors *set);

/* Append the numbers as in "0-3,8", or "none". */
void processors_print(const struct processors *set, struct buffer *out);

/* Where the thread may run; 0 is the calling one. Returns 0 or -errno. */
__attribute__((warn_unused_result)) int processors_of(pid_t thread, struct processors *ret);

/* Let the thread run on `set` only. Returns 0 or -errno: -EINVAL when it may use none of them. */
__attribute__((warn_unused_result)) int processors_bind(pid_t thread, const struct processors *set);

/* All that the process may use, also if the calling thread is bound to fewer: what its cpuset has,
 * of those that are online. Returns 0 or -errno: -EPERM when a filter of system calls refuses
 * sched_setaffinity(2). */
__attribute__((warn_unused_result)) int processors_usable(struct processors *ret);

/* Returns whether the process may use the processor; if not, *why gets the reason. */
__attribute__((warn_unused_result)) bool processors_may_use(int cpu, struct buffer *why);

#endif
