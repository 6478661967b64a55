/* sockets: what the daemon listens on: sockets that systemd hands over, or its own.
 *
 * A socket handed over (sd_listen_fds(3)) is known by its name (FileDescriptorName= check, admin,
 * http or metrics) or, without one, by the address that the configuration gives it. It outlives
 * the daemon, so that a restart refuses nobody. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKETS_H
#define APIKEYD_SOCKETS_H

#include "apikeyd/config.h"

enum socket_role { SOCKET_CHECK, SOCKET_ADMIN, SOCKET_HTTP, SOCKET_METRICS, SOCKET_ROLES };

struct sockets {
    struct {
        int fd;     /* -1: none */
        char *path; /* our own Unix socket's, removed at the end; NULL: it is none */
    } of[SOCKET_ROLES];
};

void sockets_init(struct sockets *sockets);

/* Take over or open what `config` names. False with the reason in *error. */
bool sockets_open(struct sockets *sockets, const struct config *config, struct buffer *error);

/* Close all, and remove our own from the file system. */
void sockets_close(struct sockets *sockets);

#endif
