/* unix_socket: claim a path and listen on it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UNIX_SOCKET_H
#define APIKEYD_UNIX_SOCKET_H

#include <sys/types.h>

#include "apikeyd/buffer.h"

/* A non-blocking listening socket at `path`. A socket that a dead daemon left is replaced; a
 * living one's is not. `group` may be empty. Returns the fd, or -1 with a message in `error`. */
int unix_socket_listen(const char *path, mode_t mode, const char *group, struct buffer *error);

/* Remove `path` if it is still the socket of `fd`. */
void unix_socket_remove(const char *path, int fd);

#endif
