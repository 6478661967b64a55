/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/processors.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char folder[] = "/sys/devices/system/cpu";

struct processors processors_all(void)
{
    struct processors set;

    memset(&set, 0xff, sizeof set);
    return set;
}

struct processors processors_common(const struct processors *a, const struct processors *b)
{
    struct processors both;

    CPU_AND_S(sizeof both.of, both.of, a->of, b->of);
    return both;
}

int processors_last(const struct processors *set)
{
    int cpu = OPTION_PROCESSORS - 1;

    while (cpu >= 0 && !processors_have(set, cpu))
        cpu--;
    return cpu;
}

void processors_print(const struct processors *set, struct buffer *out)
{
    bool any = false;

    for (int cpu = 0; cpu < OPTION_PROCESSORS; cpu++) {
        int first = cpu;

        if (!processors_have(set, cpu))
            continue;
        while (cpu + 1 < OPTION_PROCESSORS && processors_have(set, cpu + 1))
            cpu++;
        buffer_printf(out, "%s%d", any ? "," : "", first);
        if (cpu > first)
            buffer_printf(out, "-%d", cpu);
        any = true;
    }
    if (!any)
        buffer_text(out, "none");
}

int processors_of(pid_t thread, struct processors *ret)
{
    struct processors set = {0};

    if (sched_getaffinity(thread, sizeof set.of, set.of) != 0)
        return -errno;
    *ret = set;
    return 0;
}

int processors_bind(pid_t thread, const struct processors *set)
{
    return sched_setaffinity(thread, sizeof set->of, set->of) == 0 ? 0 : -errno;
}

/* No call tells what the cpuset is, and the files of cgroups may be out of sight. But the kernel
 * binds a thread to what the cpuset has of the set that it is asked for. */
int processors_usable(struct processors *ret)
{
    struct processors before, all = processors_all();
    int error = processors_of(0, &before);

    if (error == 0)
        error = processors_bind(0, &all);
    if (error < 0)
        return error;
    error = processors_of(0, ret);
    /* If the cpuset has just lost all of these, the thread stays where it may run. */
    (void)!processors_bind(0, &before);
    return error;
}

static bool is_offline(const char *processor)
{
    char path[128], state = '1';

    snprintf(path, sizeof path, "%s/online", processor);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (read(fd, &state, 1) != 1)
        state = '1';
    close(fd);
    return state == '0';
}

static const char *why_unusable(int cpu)
{
    char path[64];

    snprintf(path, sizeof path, "%s/cpu%d", folder, cpu);
    if (access(folder, F_OK) != 0)
        return "the daemon may not use it";
    if (access(path, F_OK) != 0)
        return "there is no such processor on this host";
    return is_offline(path) ? "it is offline" : "it is not in the daemon's cpuset (cgroup)";
}

bool processors_may_use(int cpu, struct buffer *why)
{
    struct processors usable = {0};
    int error = processors_usable(&usable);

    if (error < 0) {
        buffer_printf(why,
                      "sched_setaffinity(2) is refused: %s; a filter of system calls has to "
                      "let it through",
                      strerror(-error));
        return false;
    }
    if (processors_have(&usable, cpu))
        return true;
    buffer_printf(why, "%s; the daemon may use ", why_unusable(cpu));
    processors_print(&usable, why);
    return false;
}
