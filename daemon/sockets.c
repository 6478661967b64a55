/* SPDX-License-Identifier: MIT */
#include "apikeyd/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "apikeyd/tcp_socket.h"
#include "apikeyd/unix_socket.h"

static const char *const role_name[SOCKET_ROLES] = {"check", "admin", "http", "metrics"};

void sockets_init(struct sockets *sockets)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        sockets->of[role].fd = -1;
        sockets->of[role].path = NULL;
    }
}

static const char *address_of(const struct config *config, int role)
{
    const char *const address[SOCKET_ROLES] = {config->listen_check, config->listen_admin,
                                               config->listen_http, config->listen_metrics};

    return address[role];
}

/* A path has a slash; an address has none. */
static bool is_path(const char *address)
{
    return strchr(address, '/') != NULL;
}

/* What a socket that was handed over is for, or -1. */
static int role_of(int fd, const char *name, const struct config *config)
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        const char *address = address_of(config, role);

        if (strcmp(name, role_name[role]) == 0 ||
            (is_path(address) && sd_is_socket_unix(fd, SOCK_STREAM, 1, address, 0) > 0))
            return role;
    }
    return -1;
}

static bool take_over(struct sockets *sockets, int fd, const char *name,
                      const struct config *config, struct buffer *error)
{
    int role = role_of(fd, name, config);

    if (role < 0 || sockets->of[role].fd >= 0)
        buffer_printf(error,
                      "socket activation: %s \"%s\"; FileDescriptorName= has to be check, admin, "
                      "http or metrics, each once",
                      role < 0 ? "nothing is known of a socket named" : "there is a second socket",
                      name);
    else if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
        buffer_printf(error, "socket activation: \"%s\" is no listening stream socket", name);
    else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        buffer_printf(error, "socket activation: \"%s\": %s", name, strerror(errno));
    else
        sockets->of[role].fd = fd;
    return error->len == 0;
}

static bool take_over_all(struct sockets *sockets, const struct config *config,
                          struct buffer *error)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);

    for (int i = 0; i < count; i++) {
        if (error->len == 0)
            take_over(sockets, SD_LISTEN_FDS_START + i, names[i], config, error);
        free(names[i]);
    }
    free(names);
    return error->len == 0;
}

static int listen_on(int role, const char *address, const struct config *config,
                     struct buffer *error)
{
    if (!is_path(address))
        return tcp_socket_listen(address, error);
    if (role == SOCKET_ADMIN)
        return unix_socket_listen(address, 0600, "", error);
    return unix_socket_listen(address, (mode_t)config->listen_check_mode,
                              config->listen_check_group, error);
}

bool sockets_open(struct sockets *sockets, const struct config *config, struct buffer *error)
{
    if (!take_over_all(sockets, config, error))
        return false;
    for (int role = 0; role < SOCKET_ROLES && error->len == 0; role++) {
        const char *address = address_of(config, role);

        if (sockets->of[role].fd >= 0 || !address[0])
            continue;
        sockets->of[role].fd = listen_on(role, address, config, error);
        if (is_path(address))
            sockets->of[role].path = strdup(address);
    }
    return error->len == 0;
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
