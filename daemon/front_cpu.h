/* front_cpu: keeps the front thread on a processor of its own (listen.cpu).
 *
 *     processor   0 … n-1               n
 *     threads     all others            front
 *
 * The front thread is bound to that processor, and every other thread of the daemon to the rest of
 * those that the daemon was started with. Other processes are not kept off: that takes a cpuset,
 * which is not the daemon's to make. Whoever can change the cpuset, or the affinity of a thread,
 * can undo this at any time. So the daemon looks once a second, binds its threads again, and tells
 * what it cannot repair. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FRONT_CPU_H
#define APIKEYD_FRONT_CPU_H

#include <pthread.h>
#include <stdint.h>

#include <apikeyd/base/log.h>
#include <apikeyd/thread/processors.h>

enum front_cpu_state {
    FRONT_CPU_NONE,   /* listen.cpu is empty */
    FRONT_CPU_HELD,   /* as asked for */
    FRONT_CPU_SHARED, /* the daemon has no other processor for its other threads */
    FRONT_CPU_LOST,   /* the front thread may run elsewhere */
};

struct front_cpu {
    char asked[8]; /* listen.cpu: a number, or "last" */
    pthread_t front;
    struct processors started; /* where the daemon was started, … */
    bool unlimited;            /* … and whether that was all that it could use */
    int cpu;                   /* that was found for the front thread; -1: none */
    enum front_cpu_state state;
    uint64_t losses;       /* times that threads were found elsewhere */
    int64_t told_us;       /* when a loss was logged last, monotonic; 0: never */
    char description[256]; /* of what is, for INFO */
};

/* `asked` is listen.cpu, "" for none. */
void front_cpu_init(struct front_cpu *own, const char *asked);

/* Bind `front`, and the other threads that run: threads inherit from the first what it may use.
 * False, with the reason in the log, if that cannot be done. */
__attribute__((warn_unused_result)) bool front_cpu_start(struct front_cpu *own, pthread_t front,
                                                         const struct log *log);

/* Look whether the threads are where they belong. */
void front_cpu_look(struct front_cpu *own, const struct log *log);

#endif
