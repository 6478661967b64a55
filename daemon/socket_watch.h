/* socket_watch: detects that the file of a listening socket is gone, and restores it.
 *
 * A cleaner of /run or /tmp, or an rm by mistake, leaves a daemon that listens where no client can
 * connect. The kernel does not report that, so the file is checked by its name. The daemon binds
 * its own socket again as soon as the name is free; earlier connections live on. A file of another
 * owner in its place is left alone. For a socket that systemd handed over, or the metrics page's,
 * the daemon only logs the loss. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKET_WATCH_H
#define APIKEYD_SOCKET_WATCH_H

#include <apikeyd/base/log.h>

#include "sockets.h"

/* `fd` replaces the role's last listening socket, which the receiver closes when it no longer uses
 * it. */
typedef void socket_watch_moved(void *arg, enum socket_role role, int fd);

/* Check all files; call it about once a second. Returns how many sockets cannot be reached by their
 * name. Back thread only. */
size_t socket_watch_look(struct sockets *sockets, const struct log *log, socket_watch_moved *moved,
                         void *arg);

#endif
