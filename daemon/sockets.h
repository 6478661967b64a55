/* sockets: what the daemon listens on: sockets that systemd hands over (activation), or its own. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKETS_H
#define APIKEYD_SOCKETS_H

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/socket_role.h>

#include "unix_socket.h"

struct listening {
    int fd;                       /* -1: none */
    char *path;                   /* of its file; NULL: it is none of a file */
    struct unix_socket_id id;     /* which file that is */
    struct unix_socket_file file; /* what it has to be like, if it is … */
    bool own;                     /* … the daemon's, which removes it at the end */
    bool lost;                    /* nobody can reach it by its path, which is logged */
};

struct sockets {
    struct listening of[SOCKET_ROLES];
};

void sockets_init(struct sockets *sockets);

/* What a role is called in the configuration, and where it listens then ("": nowhere). */
const char *sockets_role_name(int role);
const char *sockets_address(const struct config *config, int role);

/* A path has a slash; an address of TCP has none. */
bool sockets_is_path(const char *address);

/* Open what `config` names, but for what was handed over. False with the reason in the log. */
bool sockets_listen(struct sockets *sockets, const struct config *config, const struct log *log);

/* Close all, and remove our own from the file system. */
void sockets_close(struct sockets *sockets);

#endif
