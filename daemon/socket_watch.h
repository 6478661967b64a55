/* socket_watch: notices that the file of a listening socket is gone, and puts it back.
 *
 * A cleaner of /run or /tmp, or an rm by mistake, leaves a daemon that listens where nobody can
 * connect. Nothing tells a process of that, so the file is looked at by its name. A socket of the
 * daemon's own is bound anew as soon as the name is free; connections of before live on. Somebody
 * else's file in its place is left alone. A socket that systemd handed over, or the metrics page's,
 * is told of only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKET_WATCH_H
#define APIKEYD_SOCKET_WATCH_H

#include <apikeyd/base/log.h>

#include "sockets.h"

/* `fd` listens in the place of the role's last one, which the receiver closes when it is done with
 * it. */
typedef void socket_watch_moved(void *arg, enum socket_role role, int fd);

/* Look at all files; to be called about once a second. Returns how many sockets nobody can reach by
 * their name. Back thread only. */
size_t socket_watch_look(struct sockets *sockets, const struct log *log, socket_watch_moved *moved,
                         void *arg);

#endif
