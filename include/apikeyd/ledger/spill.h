/* spill: pending usage on a disk, while PostgreSQL does not take it.
 *
 * The ledger survives the daemon but not the machine; the spill survives both. The spill file is
 * written whole (temporary file, fsync, rename), so a reader finds the old or the new one. These
 * calls block on the disk: back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SPILL_H
#define APIKEYD_SPILL_H

#include <apikeyd/ledger/usage_batch.h>

/* The state of the spill file at the start. */
enum spill_state {
    SPILL_WHOLE,     /* the file was read, or there is none */
    SPILL_SET_ASIDE, /* the file was damaged or unreadable, and has another name now */
    SPILL_OFF_LIMITS /* the file could not be renamed either: do not replace or remove it */
};

/* Lock the spill file at `path` against other daemons, by a lock file beside it. Returns the lock's
 * fd, to be closed at the end, -EWOULDBLOCK when another daemon has the lock, or another -errno. */
__attribute__((warn_unused_result)) int spill_lock(const char *path);

/* Replace the file at `path` with `batch`, owner included. 0 or -errno. */
__attribute__((warn_unused_result)) int spill_write(const char *path,
                                                    const struct usage_batch *batch);

/* Merge the file's entries into *batch, which tells the type of IDs, and set the batch's owner. 0
 * when the file is whole or absent; -EBADMSG when it is damaged (its whole entries are merged),
 * -EMEDIUMTYPE when its IDs are of another type, or another -errno, including
 * those of state_file_read(). Entries later than `now_us` (wall time) count as used now; entries
 * with implausible times are left out. *judged counts both. */
__attribute__((warn_unused_result)) int spill_read(const char *path, int64_t now_us,
                                                   struct usage_batch *batch,
                                                   struct usage_judged *judged);

enum { SPILL_PATH_SIZE = 4096 };

/* The name, beside the spill file, of the file in which usage of another store waits for that
 * store. False when the name would be too long. */
bool spill_aside_path(const char *path, const struct store_id *owner,
                      char ret[static SPILL_PATH_SIZE]);

/* Add `batch` to the set-aside file of the batch's owner. 0, or -errno with nothing changed.
 * `now_us` and `judged` are as for spill_read(). */
__attribute__((warn_unused_result)) int spill_set_aside(const char *path, int64_t now_us,
                                                        const struct usage_batch *batch,
                                                        struct usage_judged *judged);

/* All pending usage is in PostgreSQL: remove the file. 0, also when there is no file, or -errno. */
__attribute__((warn_unused_result)) int spill_remove(const char *path);

#endif
