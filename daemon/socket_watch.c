/* SPDX-License-Identifier: MIT */
#include "socket_watch.h"

#include "unix_socket.h"

/* libmicrohttpd takes its socket at its start. */
static bool may_move(const struct listening *socket, int role)
{
    return socket->own && role != SOCKET_METRICS;
}

static void bind_anew(struct listening *socket, int role, const struct log *log,
                      socket_watch_moved *moved, void *arg)
{
    struct buffer error = {0};
    int fd = unix_socket_listen_again(socket->path, &socket->file, &error);

    if (fd >= 0) {
        socket->fd = fd;
        socket->id = unix_socket_identify(socket->path);
        socket->lost = false;
        log_warning(log, "listen.%s: %s was removed; the daemon has bound it again",
                    sockets_role_name(role), socket->path);
        moved(arg, (enum socket_role)role, fd);
    } else if (!socket->lost) {
        socket->lost = true;
        log_error(log,
                  "listen.%s: its file was removed, and cannot be bound again: %.*s; tried again "
                  "every second (logged once)",
                  sockets_role_name(role), (int)error.len, error.data);
    }
    buffer_free(&error);
}

static void tell_lost(struct listening *socket, int role, enum unix_socket_state state,
                      const struct log *log)
{
    const char *what =
        state == UNIX_SOCKET_GONE ? "has been removed" : "is another file now, which is left alone";
    const char *remedy = !socket->own ? "stop the daemon with its socket units, then start them"
                         : may_move(socket, role)
                             ? "remove that file, and the daemon binds it again"
                             : "restart the daemon";

    if (socket->lost)
        return;
    socket->lost = true;
    log_error(log, "listen.%s: %s %s, so no client can connect there: %s (logged once)",
              sockets_role_name(role), socket->path, what, remedy);
}

static void look(struct listening *socket, int role, const struct log *log,
                 socket_watch_moved *moved, void *arg)
{
    enum unix_socket_state state = unix_socket_look(socket->path, &socket->id);

    if (state == UNIX_SOCKET_HERE) {
        if (socket->lost)
            log_info(log, "listen.%s: %s is back", sockets_role_name(role), socket->path);
        socket->lost = false;
    } else if (state == UNIX_SOCKET_GONE && may_move(socket, role)) {
        bind_anew(socket, role, log, moved, arg);
    } else {
        tell_lost(socket, role, state, log);
    }
}

size_t socket_watch_look(struct sockets *sockets, const struct log *log, socket_watch_moved *moved,
                         void *arg)
{
    size_t lost = 0;

    for (int role = 0; role < SOCKET_ROLES; role++) {
        struct listening *socket = &sockets->of[role];

        if (socket->fd < 0 || !socket->path)
            continue;
        look(socket, role, log, moved, arg);
        lost += socket->lost;
    }
    return lost;
}
