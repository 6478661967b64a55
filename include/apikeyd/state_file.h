/* state_file: what the ledger and the spill file have in common. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STATE_FILE_H
#define APIKEYD_STATE_FILE_H

#include <stddef.h>

/* Open or create `path` (mode 0600) and lock it until it is closed. Returns the fd, -EWOULDBLOCK
 * when another process has the lock, or another -errno. */
int state_file_open(const char *path);

/* Rename a file that cannot be used to "<path>.damaged-<n>" with the first free n, written to
 * `ret_path`. 0 or -errno. */
int state_file_set_aside(const char *path, char *ret_path, size_t size);

#endif
