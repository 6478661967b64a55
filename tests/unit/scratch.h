/* scratch: a folder for one test's files, removed after it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TESTS_SCRATCH_H
#define APIKEYD_TESTS_SCRATCH_H

#include <dirent.h>
#include <unistd.h>

#include "unit.h"

/* On tmpfs, as the ledger is. */
static inline int scratch_make(void **state)
{
    static char path[] = "/dev/shm/apikeyd-unit-XXXXXX";

    strcpy(path, "/dev/shm/apikeyd-unit-XXXXXX");
    *state = mkdtemp(path);
    return *state && chdir(path) == 0 ? 0 : -1;
}

static inline int scratch_remove(void **state)
{
    DIR *folder = opendir(".");

    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        unlink(entry->d_name);
    if (folder)
        closedir(folder);
    return chdir("/") == 0 && rmdir(*state) == 0 ? 0 : -1;
}

/* How many files in the folder start with `prefix`. */
static inline int scratch_count(const char *prefix)
{
    DIR *folder = opendir(".");
    int count = 0;

    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (folder)
        closedir(folder);
    return count;
}

#endif
