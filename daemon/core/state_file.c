/* SPDX-License-Identifier: MIT */
#include "apikeyd/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int state_file_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

int state_file_set_aside(const char *path, char *ret_path, size_t size)
{
    for (unsigned n = 1; n < 10000; n++) {
        if (snprintf(ret_path, size, "%s.damaged-%u", path, n) >= (int)size)
            return -ENAMETOOLONG;
        /* No earlier file set aside is replaced. Not every file system can rename so: there, a
         * link does it. */
        if (renameat2(AT_FDCWD, path, AT_FDCWD, ret_path, RENAME_NOREPLACE) == 0)
            return 0;
        if ((errno == EINVAL || errno == ENOSYS) && link(path, ret_path) == 0)
            return unlink(path) == 0 ? 0 : -errno;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}
