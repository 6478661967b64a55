/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"

static char folder[] = "/dev/shm/apikeyd-fuzz-XXXXXX";
static char path[PATH_MAX];

void scratch_clear(void)
{
    DIR *list = opendir(folder);

    for (struct dirent *entry; list && (entry = readdir(list));)
        (void)unlinkat(dirfd(list), entry->d_name, 0);
    if (list)
        closedir(list);
}

static void remove_folder(void)
{
    scratch_clear();
    (void)rmdir(folder);
}

const char *scratch_path(const char *name)
{
    if (!path[0]) {
        FUZZ_MUST(mkdtemp(folder));
        atexit(remove_folder);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}
