/* SPDX-License-Identifier: MIT */
#include "unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* Clear `path`: succeeds when nothing is there, or a socket without a listener. */
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

/* A file that has the group already, as in a set-group-ID directory, needs no chown(2), which the
 * unit does not let through. */
static bool set_group(const char *path, gid_t group, struct buffer *error)
{
    struct stat status;

    if (group == (gid_t)-1 || (lstat(path, &status) == 0 && status.st_gid == group) ||
        chown(path, (uid_t)-1, group) == 0)
        return true;
    buffer_printf(error, "%s: group %u: %s%s", path, (unsigned)group, strerror(errno),
                  errno == EPERM ? "; the daemon has to be a member of it, and its systemd unit "
                                   "needs SystemCallFilter=@chown; or let systemd make the socket"
                                 : "");
    return false;
}

/* No client can connect before the mode and group are right, since listen() comes after. */
static bool bind_path(int fd, const char *path, const struct sockaddr_un *address,
                      const struct unix_socket_file *file, struct buffer *error)
{
    mode_t mask = umask(0177);
    bool done = bind(fd, (const struct sockaddr *)address, sizeof *address) == 0;

    umask(mask);
    if (!done) {
        int why = errno;

        buffer_printf(error, "%s: %s", path, strerror(why));
        if (why == EACCES || why == EROFS)
            buffer_printf(error, "; UID %u has to be able to write to its directory",
                          (unsigned)geteuid());
        return false;
    }
    if (!set_group(path, file->group, error))
        return false;
    done = chmod(path, file->mode) == 0 && listen(fd, BACKLOG) == 0;
    if (!done)
        buffer_printf(error, "%s: %s", path, strerror(errno));
    return done;
}

static bool make_address(const char *path, struct sockaddr_un *ret_address, struct buffer *error)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret_address->sun_path) {
        buffer_printf(error, "%s: a socket's path may have %zu bytes at most", path,
                      sizeof ret_address->sun_path - 1);
        return false;
    }
    strcpy(ret_address->sun_path, path);
    return true;
}

int unix_socket_listen_again(const char *path, const struct unix_socket_file *file,
                             struct buffer *error)
{
    struct sockaddr_un address;

    if (!make_address(path, &address, error))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        buffer_printf(error, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (!bind_path(fd, path, &address, file, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

int unix_socket_listen(const char *path, const struct unix_socket_file *file, struct buffer *error)
{
    struct sockaddr_un address;

    if (!make_address(path, &address, error) || !clear_path(path, &address, error))
        return -1;
    return unix_socket_listen_again(path, file, error);
}

struct unix_socket_id unix_socket_identify(const char *path)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return (struct unix_socket_id){0};
    return (struct unix_socket_id){status.st_dev, status.st_ino};
}

/* If the check of the path fails for another reason, the socket is not known to be gone. */
enum unix_socket_state unix_socket_look(const char *path, const struct unix_socket_id *id)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return errno == ENOENT || errno == ENOTDIR ? UNIX_SOCKET_GONE : UNIX_SOCKET_HERE;
    return status.st_dev == id->device && status.st_ino == id->inode ? UNIX_SOCKET_HERE
                                                                     : UNIX_SOCKET_OTHER;
}

void unix_socket_remove(const char *path, const struct unix_socket_id *id)
{
    struct stat status;

    if (lstat(path, &status) == 0 && status.st_dev == id->device && status.st_ino == id->inode)
        unlink(path);
}
