/* SPDX-License-Identifier: MIT */
#include "process_metrics.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <apikeyd/clock/clock.h>

/* proc(5): the second number of statm is the resident set, in pages. */
static void read_memory(uint64_t *ret_bytes)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128];

    if (!file)
        return;
    const char *pages = fgets(line, sizeof line, file) ? strchr(line, ' ') : NULL;
    if (pages)
        *ret_bytes = strtoull(pages, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    fclose(file);
}

static void count_fds(uint64_t *ret_count)
{
    DIR *folder = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (!folder)
        return;
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    *ret_count = count - 1; /* the folder's own */
}

void process_metrics_read(struct metrics *metrics)
{
    struct rlimit limit;

    metrics->value[METRIC_BUILD_INFO] = 1;
    metrics->value[METRIC_PROCESS_CPU] = (uint64_t)clock_read_us(CLOCK_PROCESS_CPUTIME_ID);
    read_memory(&metrics->value[METRIC_PROCESS_MEMORY]);
    count_fds(&metrics->value[METRIC_PROCESS_FDS]);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics->value[METRIC_PROCESS_FDS_MAX] = limit.rlim_cur;
}
