/* SPDX-License-Identifier: MIT */
#include "tcp_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apikeyd/base/address.h>

enum { BACKLOG = 4096 };

/* For the connections that will be accepted: replies are not held back, and a peer that went away
 * without a word is noticed (tcp(7)): after a minute of silence and another of probes, or half a
 * minute with bytes that it does not acknowledge. */
static bool set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1}, /* a restart need not wait for earlier connections */
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60}, {IPPROTO_TCP, TCP_KEEPINTVL, 10},
        {IPPROTO_TCP, TCP_KEEPCNT, 6},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value) != 0)
            return false;
    }
    return true;
}

int tcp_socket_listen(const char *address, struct buffer *error)
{
    struct sockaddr_storage parsed;
    const struct sockaddr *generic = (const struct sockaddr *)&parsed;
    socklen_t len;

    if (!address_parse(address, &parsed, &len)) {
        buffer_printf(error, "%s: a numeric address and a port are needed (127.0.0.1:8080)",
                      address);
        return -1;
    }
    int fd = socket(generic->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || !set_options(fd) || bind(fd, generic, len) != 0 || listen(fd, BACKLOG) != 0) {
        buffer_printf(error, "%s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}
