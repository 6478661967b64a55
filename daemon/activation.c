/* SPDX-License-Identifier: MIT */
#include "activation.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

/* Returns the role of the socket, or -1. */
static int role_of(int fd, const char *name, const struct config *config)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        const char *address = sockets_address(config, role);

        if (strcmp(name, sockets_role_name(role)) == 0 ||
            (sockets_is_path(address) && sd_is_socket_unix(fd, SOCK_STREAM, 1, address, 0) > 0))
            return role;
    }
    return -1;
}

static int family_of(int fd)
{
    struct sockaddr address = {0};
    socklen_t len = sizeof address;

    return getsockname(fd, &address, &len) == 0 ? address.sa_family : AF_UNSPEC;
}

/* Write permission on a socket's file is permission to connect (unix(7)). False with the reason. */
static bool file_is_private(const char *name, const char *path, const struct stat *status,
                            struct buffer *error)
{
    if (status->st_mode & S_IWOTH)
        buffer_printf(
            error,
            "socket activation: \"%s\": %s has mode %04o, which lets everybody give admin "
            "commands; set SocketMode=0600, or 0660 with a SocketGroup= of operators",
            name, path, status->st_mode & 07777);
    else if (status->st_uid != 0 && status->st_uid != geteuid())
        buffer_printf(
            error,
            "socket activation: \"%s\": %s belongs to UID %u, which is neither root nor the "
            "daemon's user (UID %u); set SocketUser=",
            name, path, status->st_uid, geteuid());
    return error->len == 0;
}

/* The path of a Unix socket's file, even if the file is gone. NULL: the socket has none. */
static char *path_of(int fd)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof address - 1; /* the longest path leaves room for a NUL */

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 || address.sun_family != AF_UNIX ||
        address.sun_path[0] != '/')
        return NULL;
    return strdup(address.sun_path);
}

/* Returns whether only operators can reach the admin socket. False with the reason, or with
 * *ret_gone. */
static bool admin_is_private(const char *name, const char *path, bool *ret_gone,
                             struct buffer *error)
{
    struct stat status;

    if (!path)
        buffer_printf(
            error,
            "socket activation: \"%s\" has no file, whose mode would keep others out; set "
            "ListenStream= to a path, and SocketMode=0600",
            name);
    else if (stat(path, &status) == 0)
        return file_is_private(name, path, &status, error);
    else if (errno == ENOENT)
        *ret_gone = true;
    else
        buffer_printf(error, "socket activation: \"%s\": %s: %s", name, path, strerror(errno));
    return false;
}

/* A check or an admin command is for processes of this host, known by their user. */
static bool family_fits(int fd, int role, const char *name, struct buffer *error)
{
    int family = family_of(fd);

    if (family == AF_UNIX || ((role == SOCKET_HTTP || role == SOCKET_METRICS) &&
                              (family == AF_INET || family == AF_INET6)))
        return true;
    buffer_printf(error,
                  "socket activation: \"%s\" is no Unix socket%s; set ListenStream= to a path",
                  name, role == SOCKET_HTTP || role == SOCKET_METRICS ? ", nor one of TCP" : "");
    return false;
}

static bool fits(int fd, int role, const char *name, const char *path, bool *ret_gone,
                 struct buffer *error)
{
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0)
        return family_fits(fd, role, name, error) &&
               (role != SOCKET_ADMIN || admin_is_private(name, path, ret_gone, error));
    buffer_printf(error, "socket activation: \"%s\" is no listening stream socket", name);
    return false;
}

/* False with the reason, or with *ret_gone: it is left alone. */
static bool take_over(struct sockets *sockets, int fd, const char *name,
                      const struct config *config, bool *ret_gone, struct buffer *error)
{
    int role = role_of(fd, name, config);
    char *path = path_of(fd);

    if (role < 0 || sockets->of[role].fd >= 0) {
        buffer_printf(error,
                      "socket activation: %s \"%s\"; FileDescriptorName= has to be check, admin, "
                      "http or metrics, each once",
                      role < 0 ? "nothing is known of a socket named" : "there is a second socket",
                      name);
    } else if (fits(fd, role, name, path, ret_gone, error)) {
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0) {
            sockets->of[role] = (struct listening){.fd = fd, .path = path};
            if (path)
                sockets->of[role].id = unix_socket_identify(path);
            return true;
        }
        buffer_printf(error, "socket activation: \"%s\": %s", name, strerror(errno));
    }
    free(path);
    return false;
}

/* The socket unit decides who may connect. An option that says otherwise would be ignored without a
 * word. */
static void tell_ignored(int role, const struct listening *socket, const struct config *config,
                         const struct log *log)
{
    const char *name = sockets_role_name(role);
    const struct group *group;
    struct stat status;

    if (role == SOCKET_ADMIN || !socket->path || stat(socket->path, &status) != 0)
        return;
    group = config->listen_check_group[0] ? getgrnam(config->listen_check_group) : NULL;
    if (group && group->gr_gid != status.st_gid)
        log_warning(log,
                    "socket activation: \"%s\": listen.check_group %s is not used: %s belongs to "
                    "group %u; set SocketGroup= in its socket unit",
                    name, config->listen_check_group, socket->path, (unsigned)status.st_gid);
    if (config->listen_check_mode != (status.st_mode & 0777))
        log_warning(log,
                    "socket activation: \"%s\": listen.check_mode %04o is not used: %s has mode "
                    "%04o; set SocketMode= in its socket unit",
                    name, (unsigned)config->listen_check_mode, socket->path,
                    (unsigned)status.st_mode & 0777);
}

/* False when one of them must not be used. */
static bool take_one(struct sockets *sockets, int fd, const char *name, const struct config *config,
                     const struct log *log)
{
    struct buffer error = {0};
    bool gone = false;
    bool taken = take_over(sockets, fd, name, config, &gone, &error);

    if (error.len > 0)
        log_error(log, "%.*s", (int)error.len, error.data);
    else if (gone)
        log_warning(log,
                    "socket activation: \"%s\" is not used: its file is gone, so no client can "
                    "reach it; stop the daemon with its socket units, then start them",
                    name);
    if (gone)
        close(fd);
    buffer_free(&error);
    return taken || gone;
}

bool activation_take(struct sockets *sockets, const struct config *config, const struct log *log)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);
    bool all_fit = true;

    for (int i = 0; i < count; i++) {
        all_fit = take_one(sockets, SD_LISTEN_FDS_START + i, names[i], config, log) && all_fit;
        free(names[i]);
    }
    free(names);
    for (int role = 0; role < SOCKET_ROLES; role++) {
        if (sockets->of[role].fd >= 0)
            tell_ignored(role, &sockets->of[role], config, log);
    }
    return all_fit;
}
