/* SPDX-License-Identifier: MIT */
#include "apikeyd/sockets.h"

#include <stdlib.h>
#include <unistd.h>

#include "apikeyd/tcp_socket.h"
#include "apikeyd/unix_socket.h"

void sockets_init(struct sockets *sockets)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        sockets->of[role].fd = -1;
        sockets->of[role].path = NULL;
    }
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

static int listen_on(int role, const char *address, const struct config *config,
                     struct buffer *error)
{
    if (!sockets_is_path(address)) {
        if (role == SOCKET_HTTP || role == SOCKET_METRICS)
            return tcp_socket_listen(address, error);
        buffer_printf(error, "listen.%s %s: a Unix socket's path is needed, with a slash in it",
                      sockets_role_name(role), address);
        return -1;
    }
    if (role == SOCKET_ADMIN)
        return unix_socket_listen(address, 0600, "", error);
    return unix_socket_listen(address, (mode_t)config->listen_check_mode,
                              config->listen_check_group, error);
}

bool sockets_listen(struct sockets *sockets, const struct config *config, const struct log *log)
{
    struct buffer error = {0};

    for (int role = 0; role < SOCKET_ROLES && error.len == 0; role++) {
        const char *address = sockets_address(config, role);

        if (sockets->of[role].fd >= 0 || !address[0])
            continue;
        sockets->of[role].fd = listen_on(role, address, config, &error);
        if (sockets_is_path(address))
            sockets->of[role].path = strdup(address);
    }
    bool listening = error.len == 0;
    if (!listening)
        log_error(log, "%.*s", (int)error.len, error.data);
    buffer_free(&error);
    return listening;
}

void sockets_close(struct sockets *sockets)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        int fd = sockets->of[role].fd;

        if (fd >= 0 && sockets->of[role].path)
            unix_socket_remove(sockets->of[role].path, fd);
        if (fd >= 0)
            close(fd);
        free(sockets->of[role].path);
    }
    sockets_init(sockets);
}
