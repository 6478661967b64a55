/* spill: pending usage on a disk, for the time that PostgreSQL does not take it.
 *
 * The ledger survives the daemon but not the machine; the spill survives both. It is written
 * whole: temporary file, fsync, rename, so that a reader finds the old or the new one.
 * These calls block on the disk: back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SPILL_H
#define APIKEYD_SPILL_H

#include <apikeyd/ledger/usage_batch.h>

/* What became of the spill file at the start. */
enum spill_state {
    SPILL_WHOLE,     /* it, or its absence, is what was read */
    SPILL_SET_ASIDE, /* it was damaged or could not be read, and has another name now */
    SPILL_OFF_LIMITS /* nor could it be renamed: it must be neither replaced nor removed */
};

/* Keep other daemons off the spill file at `path`, by a lock file beside it. Returns its fd, to be
 * closed at the end, -EWOULDBLOCK when another daemon has it, or another -errno. */
__attribute__((warn_unused_result)) int spill_lock(const char *path);

/* Replace the file at `path` by `batch`, its owner included. 0 or -errno. */
__attribute__((warn_unused_result)) int spill_write(const char *path,
                                                    const struct usage_batch *batch);

/* Merge the file's entries into *batch, and set its owner. 0 when it is whole or there is none;
 * -EBADMSG when it is damaged (what is whole in it is merged), or another -errno, also those of
 * state_file_read(). Entries later than `now_us` (wall time) are taken as used now, those that
 * cannot be times are left out; both are added to *judged. */
__attribute__((warn_unused_result)) int spill_read(const char *path, int64_t now_us,
                                                   struct usage_batch *batch,
                                                   struct usage_judged *judged);

enum { SPILL_PATH_SIZE = 4096 };

/* The name, beside the spill file, under which usage of another store waits for it to come back.
 * False when it would be too long. */
bool spill_aside_path(const char *path, const struct store_id *owner,
                      char ret[static SPILL_PATH_SIZE]);

/* Add `batch` to the file of its owner's usage. 0 or -errno, and then nothing has changed. `now_us`
 * and `judged` are as for spill_read(). */
__attribute__((warn_unused_result)) int spill_set_aside(const char *path, int64_t now_us,
                                                        const struct usage_batch *batch,
                                                        struct usage_judged *judged);

/* Pending usage is all in PostgreSQL: remove the file. 0, also when there is none, or -errno. */
__attribute__((warn_unused_result)) int spill_remove(const char *path);

#endif
