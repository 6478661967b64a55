/* ledger: the last_used times that are not in PostgreSQL yet, safe from SIGKILL.
 *
 * A file on tmpfs, mapped, in two halves. The front thread appends to one half while the back
 * thread drains the other; a half changes hands by message, so each has one owner at any time.
 *
 *     0          4 KiB                                 4 KiB + half                    end
 *     | header   | half 0: slots, then zeros           | half 1: slots, then zeros     |
 *
 * A half is not a hash table. The cached verdict remembers which slot its key got, the slot says
 * whose it is, and a key whose hint is wrong simply gets another slot: duplicates are merged by
 * maximum when the half is drained. So recording touches one line, and growing is reserving more
 * of the (sparse) file: nothing ever moves. A slot counts once its last_used is not zero; that is
 * stored last, so a process killed at any instruction leaves only whole slots.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_H
#define APIKEYD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apikeyd/usage_batch.h"
#include "apikeyd/verdict.h"

enum { LEDGER_HALVES = 2 };

struct ledger;

struct ledger_half {
    struct usage_slot *slots; /* mapped */
    uint32_t used;            /* slots written, from the first */
    uint32_t reserved;        /* slots that the file system has promised room for */
    int fd;
    int64_t offset; /* of the half in the file, bytes */
};

struct ledger_report {
    bool set_aside;        /* a damaged file was found and renamed … */
    char aside_path[4096]; /* … to this */
    const char *damage;    /* what was wrong with it */
    bool on_disk;          /* the file is not on tmpfs: stores may stall */
};

/* Open or create the ledger at `path` and take its lock. A damaged file is renamed, never
 * deleted; whole slots found in it go into the new one. Returns 0, -EWOULDBLOCK when another
 * daemon holds the lock, or another -errno. `now_us` is wall time: later slots are damage. */
int ledger_open(const char *path, int64_t now_us, struct ledger **ret,
                struct ledger_report *ret_report);

/* Unmap and unlock. What is in the halves stays in the file. */
void ledger_close(struct ledger *ledger);

/* Whose usage it holds; zeros: that is not known yet. */
const struct store_id *ledger_owner(const struct ledger *ledger);

/* Whose it held before, while some of that may still be in it; zeros: nobody's. */
const struct store_id *ledger_left(const struct ledger *ledger);

/* Note both, in one write. 0 or -errno. One thread at a time. */
int ledger_set_owner(struct ledger *ledger, const struct store_id *owner,
                     const struct store_id *left);

/* Half 0 or 1. Whoever is sent a half owns it. */
struct ledger_half *ledger_half(struct ledger *ledger, int index);

/* A key was allowed at `now_us` (wall time, µs). *hint is kept by the caller beside the key. False
 * when the half is full or its file system has no room: the use is not recorded. */
bool ledger_half_record(struct ledger_half *half, const struct uuid *api_key_id, int64_t now_us,
                        uint32_t *hint);

/* The slot that `hint` names may be recorded in soon: have its line come in. */
static inline void ledger_half_prefetch(const struct ledger_half *half, uint32_t hint)
{
    if (hint < half->used)
        __builtin_prefetch(&half->slots[hint], 1);
}

/* Empty every slot, for the next round, and return memory that this one did not need. May block:
 * back thread. */
void ledger_half_clear(struct ledger_half *half);

#endif
