/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/process_table.h>

#include <stdlib.h>

static pid_t known(pid_t pid)
{
    return pid > 0 ? pid : 0;
}

static struct process *find(const struct process_table *table, pid_t pid)
{
    struct process *process;

    LIST_FOREACH(process, &table->bucket[(size_t)pid % PROCESS_BUCKETS], in_bucket)
    {
        if (process->pid == pid)
            return process;
    }
    return NULL;
}

size_t process_table_connections(const struct process_table *table, pid_t pid)
{
    const struct process *process = find(table, known(pid));

    return process ? process->connections : 0;
}

struct process *process_table_join(struct process_table *table, pid_t pid)
{
    struct process *process = find(table, known(pid));

    if (!process) {
        process = calloc(1, sizeof *process);
        if (!process)
            return NULL;
        process->pid = known(pid);
        LIST_INSERT_HEAD(&table->bucket[(size_t)process->pid % PROCESS_BUCKETS], process,
                         in_bucket);
    }
    process->connections++;
    return process;
}

void process_table_leave(struct process *process)
{
    if (--process->connections > 0)
        return;
    LIST_REMOVE(process, in_bucket);
    free(process);
}
