/* ledger_file: one file that holds a ledger's halves, or memory in its place. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_FILE_H
#define APIKEYD_LEDGER_FILE_H

#include <apikeyd/ledger/count_batch.h>
#include <apikeyd/ledger/ledger_half.h>
#include <apikeyd/ledger/ledger_report.h>

/* As the header notes them; zeros: not known, or none. The halves' numbers stand beside the series.
 */
struct ledger_owners {
    struct store_id owner, left;
    struct series_id series;
};

struct ledger_file {
    int fd; /* -1: memory */
    enum id_type type;
    struct ledger_map *map;
    struct ledger_half half[LEDGER_HALVES];
};

/* Open or create the file at `path`, for IDs of the type of *saved, and take its lock. A damaged
 * file, or one of another type, is renamed, never deleted; the plausible entries of the former are
 * merged into *saved, even when an error follows. Sets *ret_owners if the
 * file has a header. Returns 0 or -errno, which state_file_fault() explains. */
__attribute__((warn_unused_result)) int ledger_file_open(const char *path, int64_t now_us,
                                                         struct ledger_file **ret,
                                                         struct ledger_owners *ret_owners,
                                                         struct usage_batch *saved,
                                                         struct ledger_report *report);

/* Use memory in place of a file. 0 or -errno. */
__attribute__((warn_unused_result)) int ledger_file_new_memory(enum id_type type,
                                                               struct ledger_file **ret);

/* Write the header. 0 or -errno. */
__attribute__((warn_unused_result)) int ledger_file_note_owners(const struct ledger_file *file,
                                                                const struct ledger_owners *owners);

/* Returns the state of the file. `path` is the name that it should have. */
enum ledger_state ledger_file_look(const struct ledger_file *file, const char *path);

/* Returns whether `path` leads to this file, which must not be memory. */
bool ledger_file_is_named(const struct ledger_file *file, const char *path);

/* Unmap and unlock. The entries stay in the file. */
void ledger_file_close(struct ledger_file *file);

#endif
