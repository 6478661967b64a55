/* SPDX-License-Identifier: MIT */
#include "apikeyd/unix_socket.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* Make way at `path`: nothing there, or a socket that nobody listens on. */
static bool clear_path(const char *path, const struct sockaddr_un *address, struct buffer *error)
{
    struct stat status;

    if (lstat(path, &status) != 0) {
        if (errno == ENOENT)
            return true;
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        buffer_printf(error, "%s: exists and is not a socket; remove it or choose another path",
                      path);
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return false;
    }
    bool dead = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                errno == ECONNREFUSED;
    close(fd);
    if (!dead) {
        buffer_printf(error, "%s: another process listens here; stop it or choose another path",
                      path);
        return false;
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        buffer_printf(error, "%s: a dead daemon's socket, but it cannot be removed: %s", path,
                      strerror(errno));
        return false;
    }
    return true;
}

/* Nobody can connect before the mode and group are right, since listen() comes after. */
static bool bind_path(int fd, const char *path, const struct sockaddr_un *address, mode_t mode,
                      const char *group, struct buffer *error)
{
    mode_t mask = umask(0177);
    int bound = bind(fd, (const struct sockaddr *)address, sizeof *address);

    umask(mask);
    if (bound != 0) {
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return false;
    }
    if (group[0]) {
        const struct group *entry = getgrnam(group);

        if (!entry || chown(path, (uid_t)-1, entry->gr_gid) != 0) {
            buffer_printf(error, "%s: group %s: %s", path, group,
                          entry ? strerror(errno) : "there is no such group");
            return false;
        }
    }
    if (chmod(path, mode) != 0 || listen(fd, BACKLOG) != 0) {
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

int unix_socket_listen(const char *path, mode_t mode, const char *group, struct buffer *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path) {
        buffer_printf(error, "%s: a socket's path may have %zu bytes at most", path,
                      sizeof address.sun_path - 1);
        return -1;
    }
    strcpy(address.sun_path, path);
    if (!clear_path(path, &address, error))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (!bind_path(fd, path, &address, mode, group, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

void unix_socket_remove(const char *path, int fd)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof address;
    struct stat status;

    /* The name is ours as long as it is a socket and our fd is bound to it; a daemon that took
     * the path over would have been refused by our listening there. */
    if (getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
        strcmp(address.sun_path, path) == 0 && lstat(path, &status) == 0 &&
        S_ISSOCK(status.st_mode))
        unlink(path);
}
