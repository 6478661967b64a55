/* SPDX-License-Identifier: MIT */
#include "sockets.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <unistd.h>

#include "tcp_socket.h"

void sockets_init(struct sockets *sockets)
{
    for (int role = 0; role < SOCKET_ROLES; role++)
        sockets->of[role] = (struct listening){.fd = -1};
}

const char *sockets_role_name(int role)
{
    static const char *const name[SOCKET_ROLES] = {"check", "admin", "http", "metrics"};

    return name[role];
}

const char *sockets_address(const struct config *config, int role)
{
    const char *const address[SOCKET_ROLES] = {config->listen_check, config->listen_admin,
                                               config->listen_http, config->listen_metrics};

    return address[role];
}

bool sockets_is_path(const char *address)
{
    return strchr(address, '/') != NULL;
}

/* Once, at the start: the answer may come from the network, and no later code may wait for that. */
static bool find_group(const char *name, gid_t *ret_group, struct buffer *error)
{
    *ret_group = (gid_t)-1;
    if (!name[0])
        return true;
    errno = 0;
    const struct group *entry = getgrnam(name);
    if (!entry) {
        buffer_printf(error, "listen.check_group %s: %s", name,
                      errno ? strerror(errno) : "there is no such group");
        return false;
    }
    *ret_group = entry->gr_gid;
    return true;
}

static bool listen_on_path(struct listening *socket, int role, const char *path,
                           const struct config *config, struct buffer *error)
{
    socket->file = (struct unix_socket_file){.mode = 0600, .group = (gid_t)-1};
    if (role != SOCKET_ADMIN) {
        socket->file.mode = (mode_t)config->listen_check_mode;
        if (!find_group(config->listen_check_group, &socket->file.group, error))
            return false;
    }
    socket->fd = unix_socket_listen(path, &socket->file, error);
    if (socket->fd < 0)
        return false;
    socket->id = unix_socket_identify(path);
    socket->own = true;
    socket->path = strdup(path);
    return true;
}

static bool listen_on(struct listening *socket, int role, const char *address,
                      const struct config *config, struct buffer *error)
{
    if (sockets_is_path(address))
        return listen_on_path(socket, role, address, config, error);
    if (role == SOCKET_CHECK || role == SOCKET_ADMIN) {
        buffer_printf(error, "listen.%s %s: a Unix socket's path is needed, with a slash in it",
                      sockets_role_name(role), address);
        return false;
    }
    socket->fd = tcp_socket_listen(address, error);
    return socket->fd >= 0;
}

bool sockets_listen(struct sockets *sockets, const struct config *config, const struct log *log)
{
    struct buffer error = {0};
    bool listening = true;

    for (int role = 0; role < SOCKET_ROLES && listening; role++) {
        const char *address = sockets_address(config, role);

        if (sockets->of[role].fd < 0 && address[0])
            listening = listen_on(&sockets->of[role], role, address, config, &error);
    }
    if (!listening)
        log_error(log, "%.*s", (int)error.len, error.data);
    buffer_free(&error);
    return listening;
}

void sockets_close(struct sockets *sockets)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        struct listening *socket = &sockets->of[role];

        if (socket->own && socket->path)
            unix_socket_remove(socket->path, &socket->id);
        if (socket->fd >= 0)
            close(socket->fd);
        free(socket->path);
    }
    sockets_init(sockets);
}
