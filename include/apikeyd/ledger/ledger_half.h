/* ledger_half: slots that are appended to, on one thread at a time. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_HALF_H
#define APIKEYD_LEDGER_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/model/verdict.h>

enum { LEDGER_HALVES = 2 }; /* of each ledger */

struct ledger_map;

struct ledger_half {
    struct usage_slot *slots; /* mapped */
    uint32_t used;            /* slots written, from the first */
    uint32_t reserved;        /* slots that there is room for */
    uint32_t kept;            /* of `used`: those that ledger_half_keep() has left */
    uint32_t borrowed_from;   /* from this slot on the room is memory; UINT32_MAX: nowhere */
    int fd;                   /* -1: all of it is memory */
    int64_t offset;           /* of the half in the file, bytes */
    struct ledger_map *map;
};

/* A key was allowed at `now_us` (wall time, µs). *hint is kept by the caller beside the key. False
 * when the half is full: the use is not recorded. */
bool ledger_half_record(struct ledger_half *half, const struct uuid *api_key_id, int64_t now_us,
                        uint32_t *hint);

/* The slot that `hint` names may be recorded in soon: have its line come in. */
static inline void ledger_half_prefetch(const struct ledger_half *half, uint32_t hint)
{
    if (hint < half->used)
        __builtin_prefetch(&half->slots[hint], 1);
}

/* Entries that were recorded in the half and are not there any more, as the file was cut short or
 * written to. Some of them may have been recorded anew since. */
size_t ledger_half_lost(const struct ledger_half *half);

/* Leave only entries of keys that are pending, each once, so that the half can be handed on
 * although they are nowhere else yet. A process killed on the way leaves all of them. False, and
 * nothing has changed, when out of memory. */
bool ledger_half_keep(struct ledger_half *half, const struct usage_batch *pending);

/* Empty every slot, for the next round, and return memory that this one did not need. May block:
 * back thread. */
void ledger_half_clear(struct ledger_half *half);

/* For the ledger's own parts. */

enum {
    HALF_SLOTS = 1 << 24, /* 512 MiB of a sparse file: 16 M keys used between two flushes */
    GROW_SLOTS = 1 << 14, /* 512 KiB at a time: the front thread waits for this */
};

/* Have the file system promise room for one step more, so that storing into it cannot fault. */
bool ledger_half_reserve(struct ledger_half *half);

/* Return empty slots to the system. */
bool ledger_half_punch(const struct ledger_half *half, uint32_t from, uint32_t slots);

#endif
