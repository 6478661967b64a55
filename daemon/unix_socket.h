/* unix_socket: claims a path, listens on it, and checks later whether the path still leads
 * there. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UNIX_SOCKET_H
#define APIKEYD_UNIX_SOCKET_H

#include <sys/types.h>

#include <apikeyd/base/buffer.h>

/* The attributes of a socket's file. */
struct unix_socket_file {
    mode_t mode;
    gid_t group; /* (gid_t)-1: the daemon's */
};

/* The identity of a file. While the socket is open no other file has the same numbers. */
struct unix_socket_id {
    dev_t device;
    ino_t inode; /* 0: none */
};

enum unix_socket_state { UNIX_SOCKET_HERE, UNIX_SOCKET_GONE, UNIX_SOCKET_OTHER };

/* Open a non-blocking listening socket at `path`. A socket left by a dead daemon is replaced; a
 * living daemon's is not. Returns the fd, or -1 with a message in `error`. */
__attribute__((warn_unused_result)) int
unix_socket_listen(const char *path, const struct unix_socket_file *file, struct buffer *error);

/* As unix_socket_listen(), if nothing is at `path`; another file there stays, and is an error. */
__attribute__((warn_unused_result)) int
unix_socket_listen_again(const char *path, const struct unix_socket_file *file,
                         struct buffer *error);

struct unix_socket_id unix_socket_identify(const char *path);

/* Returns whether `path` is still that file. */
enum unix_socket_state unix_socket_look(const char *path, const struct unix_socket_id *id);

/* Remove `path` if it is still that file. */
void unix_socket_remove(const char *path, const struct unix_socket_id *id);

#endif
