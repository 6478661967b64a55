/* SPDX-License-Identifier: MIT */
#include "apikeyd/tcp_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/util.h>

enum { BACKLOG = 4096 };

int tcp_socket_listen(const char *address, struct buffer *error)
{
    struct sockaddr_storage parsed = {0};
    struct sockaddr *generic = (struct sockaddr *)&parsed;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&parsed;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&parsed;
    int len = sizeof parsed;
    const int on = 1;

    if (evutil_parse_sockaddr_port(address, generic, &len) != 0 ||
        (generic->sa_family == AF_INET ? in->sin_port : in6->sin6_port) == 0) {
        buffer_printf(error,
                      "%s: a path, or a numeric address and a port (127.0.0.1:8080) is needed",
                      address);
        return -1;
    }
    int fd = socket(generic->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* A restart need not wait for the connections of before; replies are not held back. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(fd, generic, (socklen_t)len) != 0 || listen(fd, BACKLOG) != 0) {
        buffer_printf(error, "%s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}
