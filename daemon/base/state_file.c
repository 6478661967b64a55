/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/state_file.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns 0 if a daemon of this user has made the file, or -errno. */
static int judge(const struct stat *status)
{
    if (S_ISLNK(status->st_mode))
        return -ELOOP;
    if (S_ISDIR(status->st_mode))
        return -EISDIR;
    if (!S_ISREG(status->st_mode))
        return -ENXIO;
    if (status->st_uid != geteuid())
        return -EPERM;
    /* No link at all: the file was removed meanwhile. */
    return status->st_nlink > 1 ? -EMLINK : 0;
}

static int open_judged(const char *path, int flags)
{
    struct stat status;
    int error;

    /* Check before the open, because opening a device may have effects; and after it, because the
     * name may lead to another file now. */
    error = lstat(path, &status) == 0 ? judge(&status) : 0;
    if (error < 0)
        return error;
    /* O_NONBLOCK: a FIFO may have taken the name since. */
    int fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    error = fstat(fd, &status) == 0 ? judge(&status) : -errno;
    if (error < 0) {
        close(fd);
        return error;
    }
    return fd;
}

int state_file_read(const char *path)
{
    return open_judged(path, O_RDONLY);
}

int state_file_lock(const char *path)
{
    int fd = open_judged(path, O_RDWR | O_CREAT);

    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

static int write_all(int fd, const void *bytes, size_t len)
{
    for (const char *at = bytes; len > 0;) {
        ssize_t written = write(fd, at, len);

        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        at += written;
        len -= (size_t)written;
    }
    return 0;
}

/* A rename is on disk once its directory is. */
static int sync_directory(const char *path)
{
    char copy[PATH_MAX];
    int error = 0;

    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fsync(fd) != 0)
        error = -errno;
    close(fd);
    return error;
}

static int write_temporary(const char *path, const struct slice *part, size_t parts)
{
    int error = 0;

    /* A crash may have left this file, or something else has its name: never write through it. */
    if (unlink(path) != 0 && errno != ENOENT)
        return -errno;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; error == 0 && i < parts; i++)
        error = write_all(fd, part[i].at, part[i].len);
    if (error == 0 && fsync(fd) != 0)
        error = -errno;
    if (close(fd) != 0 && error == 0)
        error = -errno;
    return error;
}

int state_file_replace(const char *path, const struct slice *part, size_t parts, bool *ret_replaced)
{
    char temporary[PATH_MAX];

    *ret_replaced = false;
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    int error = write_temporary(temporary, part, parts);
    if (error == 0 && rename(temporary, path) != 0)
        error = -errno;
    if (error < 0) {
        unlink(temporary);
        return error;
    }
    *ret_replaced = true;
    return sync_directory(path);
}

bool state_file_read_all(int fd, void *bytes, size_t len)
{
    for (char *at = bytes; len > 0;) {
        ssize_t got = read(fd, at, len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

int state_file_set_aside(const char *path, char *ret_path, size_t size)
{
    for (unsigned n = 1; n <= STATE_FILE_ASIDE_MAX; n++) {
        if (snprintf(ret_path, size, "%s.damaged-%u", path, n) >= (int)size)
            return -ENAMETOOLONG;
        /* An earlier file that was set aside is not replaced. A file system without
         * RENAME_NOREPLACE gets a link instead. */
        if (renameat2(AT_FDCWD, path, AT_FDCWD, ret_path, RENAME_NOREPLACE) == 0)
            return 0;
        if ((errno == EINVAL || errno == ENOSYS) && link(path, ret_path) == 0)
            return unlink(path) == 0 ? 0 : -errno;
        if (errno != EEXIST)
            return -errno;
    }
    return -ENOTUNIQ;
}

const char *state_file_fault(int error)
{
    switch (-error) {
    case EWOULDBLOCK:
        return "another daemon uses it";
    case ELOOP:
        return "it is a symbolic link";
    case EISDIR:
        return "it is a directory";
    case ENXIO:
        return "it is not a regular file";
    case EMLINK:
        return "it has another name too (a hard link)";
    case EPERM:
        return "it belongs to another user, or must not be changed";
    case ENOTUNIQ:
        return "too many damaged files are beside it; remove them";
    case ESTALE:
        return "it was replaced while it was opened";
    default:
        return strerror(-error);
    }
}
