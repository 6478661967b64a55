/* sockets: the daemon's listening sockets: handed over by systemd (activation), or its own. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKETS_H
#define APIKEYD_SOCKETS_H

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/socket_role.h>

#include "unix_socket.h"

struct listening {
    int fd;                       /* -1: none */
    char *path;                   /* of its file; NULL: the socket has no file */
    struct unix_socket_id id;     /* the file's identity */
    struct unix_socket_file file; /* the required attributes of the file, if it is … */
    bool own;                     /* … the daemon's, which removes it at the end */
    bool lost;                    /* the path does not lead to the socket, which is logged */
};

struct sockets {
    struct listening of[SOCKET_ROLES];
};

void sockets_init(struct sockets *sockets);

/* Return a role's name in the configuration, and its address there ("": none). */
const char *sockets_role_name(int role);
const char *sockets_address(const struct config *config, int role);

/* Returns whether `address` is a path: a path has a slash, a TCP address has none. */
bool sockets_is_path(const char *address);

/* Open the sockets that `config` names, except those that were handed over. False with the reason
 * in the log. */
bool sockets_listen(struct sockets *sockets, const struct config *config, const struct log *log);

/* Close all, and remove our own from the file system. */
void sockets_close(struct sockets *sockets);

#endif
