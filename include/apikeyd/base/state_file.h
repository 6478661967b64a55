/* state_file: rules that the ledger and the spill file share.
 *
 * A state file is a regular file with one name that belongs to the daemon's user. Anything else in
 * its place may be a trap or a mistake: the daemon neither follows it, nor waits for it, nor
 * changes it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STATE_FILE_H
#define APIKEYD_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <apikeyd/base/slice.h>

/* Maximum of files set aside under one name. */
enum { STATE_FILE_ASIDE_MAX = 100 };

/* Open or create `path` (mode 0600) and lock it until it is closed. Returns the fd, -EWOULDBLOCK
 * when another process has the lock, or another -errno, including those of state_file_read(). */
__attribute__((warn_unused_result)) int state_file_lock(const char *path);

/* Open `path` for reading. Returns the fd, or -errno, among them
 *   -ELOOP    a symbolic link
 *   -EISDIR   a directory
 *   -ENXIO    neither of these nor a regular file
 *   -EMLINK   it has other names (hard links)
 *   -EPERM    it belongs to another user */
__attribute__((warn_unused_result)) int state_file_read(const char *path);

/* Replace the file at `path` with these bytes (temporary file "<path>.new", fsync, rename, fsync of
 * the folder), so that a reader finds the old file or the new one. 0 or -errno. On an error
 * *ret_replaced tells whether the new file is in place all the same, until a power cut. Blocks on
 * the disk. */
__attribute__((warn_unused_result)) int
state_file_replace(const char *path, const struct slice *part, size_t parts, bool *ret_replaced);

/* Read `len` bytes. False at the end of the file, or on an error. */
__attribute__((warn_unused_result)) bool state_file_read_all(int fd, void *bytes, size_t len);

/* Rename a file that cannot be used to "<path>.damaged-<n>" with the first free n, written to
 * `ret_path`. 0, -ENOTUNIQ when there are STATE_FILE_ASIDE_MAX of them, or another -errno. */
__attribute__((warn_unused_result)) int state_file_set_aside(const char *path, char *ret_path,
                                                             size_t size);

/* Returns the fault as text for people. `error` is a result of the calls above. */
const char *state_file_fault(int error);

#endif
