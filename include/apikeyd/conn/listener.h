/* listener: accepts connections, or refuses them. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LISTENER_H
#define APIKEYD_LISTENER_H

#include <apikeyd/config/config.h>
#include <apikeyd/conn/connection.h>

struct listener {
    struct clients *clients;
    const struct protocol *protocol;
    int fd; /* not owned; -1: none */
    size_t max_connections;
    struct id_list allow_uids, allow_gids; /* both empty: every user */
    struct event acceptable;
    struct event resume; /* after running out of file descriptors */
};

/* Accept on `fd` (-1: on nothing). */
void listener_start(struct listener *listener, struct clients *clients, int fd,
                    const struct protocol *protocol, const struct config *config);
/* Accept the clients that wait on the old socket, close it, and accept on `fd` from then on. */
void listener_move(struct listener *listener, int fd);

void listener_configure(struct listener *listener, const struct config *config);
void listener_stop(struct listener *listener);

#endif
