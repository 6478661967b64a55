/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

void scratch_clear(void)
{
    DIR *list = opendir(".");

    for (struct dirent *entry; list && (entry = readdir(list));) {
        if (strncmp(entry->d_name, SCRATCH_PREFIX, strlen(SCRATCH_PREFIX)) == 0)
            (void)unlink(entry->d_name);
    }
    if (list)
        closedir(list);
}
