/* SPDX-License-Identifier: MIT */
#include "front_cpu.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/clock/clock.h>

static const int64_t tell_interval_us = 60000000;

static int processors_of_thread(pthread_t thread, struct processors *ret)
{
    struct processors set = {0};
    int error = pthread_getaffinity_np(thread, sizeof set.of, set.of);

    if (error == 0)
        *ret = set;
    return -error;
}

/* A thread that has just ended needs no processor. */
static void bind_all_threads(const struct processors *set)
{
    DIR *threads = opendir("/proc/self/task");

    (void)!processors_bind(0, set);
    if (!threads)
        return;
    for (const struct dirent *entry; (entry = readdir(threads));) {
        if (isdigit((unsigned char)entry->d_name[0]))
            (void)!processors_bind((pid_t)strtol(entry->d_name, NULL, 10), set);
    }
    closedir(threads);
}

/* Those that the daemon shall use. Where nothing but the cpuset limited it these are all, so that
 * its threads follow a cpuset that grows. */
static struct processors allotted(const struct front_cpu *own, const struct processors *usable)
{
    struct processors left = processors_common(&own->started, usable);

    return own->unlimited || processors_last(&left) < 0 ? processors_all() : own->started;
}

static int choose(const struct front_cpu *own, const struct processors *allotted,
                  const struct processors *usable)
{
    struct processors both = processors_common(allotted, usable);

    if (strcmp(own->asked, "last") == 0)
        return processors_last(&both);
    int cpu = (int)strtol(own->asked, NULL, 10);
    return processors_have(usable, cpu) ? cpu : -1;
}

/* Returns 0 or -errno. */
static int bind_threads(struct front_cpu *own)
{
    struct processors usable;
    int error = processors_usable(&usable);

    if (error < 0)
        return error;
    struct processors all = allotted(own, &usable), others = all;
    own->cpu = choose(own, &all, &usable);
    if (own->cpu < 0)
        return -EINVAL;
    processors_remove(&others, own->cpu);
    struct processors left = processors_common(&others, &usable);
    bool shared = processors_last(&left) < 0;
    struct processors only = processors_only(own->cpu);
    bind_all_threads(shared ? &all : &others);
    error = pthread_setaffinity_np(own->front, sizeof only.of, only.of);
    if (error == 0)
        own->state = shared ? FRONT_CPU_SHARED : FRONT_CPU_HELD;
    return -error;
}

/* The first thread stands for all but the front thread: a cpuset that changes changes all. */
static bool as_bound(const struct front_cpu *own)
{
    struct processors front, first;

    if (own->state == FRONT_CPU_LOST || processors_of_thread(own->front, &front) < 0 ||
        processors_of(0, &first) < 0)
        return false;
    struct processors only = processors_only(own->cpu);
    if (!processors_equal(&front, &only))
        return false;
    return own->state == FRONT_CPU_SHARED ? processors_equal(&first, &only)
                                          : !processors_have(&first, own->cpu);
}

static void describe(struct front_cpu *own)
{
    static const char *const state[] = {[FRONT_CPU_NONE] = "none",
                                        [FRONT_CPU_HELD] = "held",
                                        [FRONT_CPU_SHARED] = "shared",
                                        [FRONT_CPU_LOST] = "lost"};
    struct processors front = {0}, others = {0};
    struct buffer text = {0};

    (void)!processors_of_thread(own->front, &front);
    (void)!processors_of(0, &others);
    buffer_printf(&text, "%s: %s is asked for, the front thread may run on ", state[own->state],
                  own->asked);
    processors_print(&front, &text);
    buffer_text(&text, ", the others on ");
    processors_print(&others, &text);
    snprintf(own->description, sizeof own->description, "%.*s", (int)text.len, text.data);
    buffer_free(&text);
}

/* A loss that was repaired at once is told at most once a minute, since it may come back each
 * second. */
static void tell(struct front_cpu *own, enum front_cpu_state before, int error,
                 const struct log *log)
{
    int64_t now_us = clock_monotonic_us();

    if (own->state == FRONT_CPU_LOST) {
        if (before != FRONT_CPU_LOST)
            log_warning(log,
                        "listen.cpu: the front thread has lost its processor: %s; the daemon tries "
                        "again every second (%s)",
                        error == -EINVAL ? "the daemon may not use it any more" : strerror(-error),
                        own->description);
        return;
    }
    if (own->state == before && own->told_us != 0 && now_us - own->told_us < tell_interval_us)
        return;
    own->told_us = now_us;
    log_warning(log,
                "listen.cpu: threads were moved from outside (a cpuset, taskset), and are bound "
                "again (%s)",
                own->description);
}

void front_cpu_init(struct front_cpu *own, const char *asked)
{
    *own = (struct front_cpu){.cpu = -1, .description = "none"};
    snprintf(own->asked, sizeof own->asked, "%s", asked);
}

bool front_cpu_start(struct front_cpu *own, pthread_t front, const struct log *log)
{
    struct processors usable;

    if (!own->asked[0])
        return true;
    own->front = front;
    int error = processors_of(0, &own->started);
    if (error == 0)
        error = processors_usable(&usable);
    if (error == 0) {
        own->unlimited = processors_equal(&own->started, &usable);
        error = bind_threads(own);
    }
    if (error < 0) {
        log_error(log, "listen.cpu: the front thread cannot be bound to processor %s: %s",
                  own->asked, strerror(-error));
        return false;
    }
    describe(own);
    if (own->state == FRONT_CPU_SHARED)
        log_warning(log,
                    "listen.cpu: the daemon may use no other processor, so its other threads share "
                    "it with the front thread (%s)",
                    own->description);
    else
        log_info(log, "listen.cpu: %s", own->description);
    return true;
}

void front_cpu_look(struct front_cpu *own, const struct log *log)
{
    enum front_cpu_state before = own->state;

    if (before == FRONT_CPU_NONE || as_bound(own))
        return;
    if (before != FRONT_CPU_LOST)
        own->losses++;
    int error = bind_threads(own);
    if (error < 0)
        own->state = FRONT_CPU_LOST;
    describe(own);
    tell(own, before, error, log);
}
