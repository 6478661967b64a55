/* ledger_half: an array of slots; one thread at a time appends to it. */
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
    struct usage_slot *slots; /* mapped; see usage_slot_at() */
    size_t slot_size;         /* usage_slot_size() of the type */
    enum id_type type;
    uint32_t used;          /* slots written, from the first */
    uint32_t reserved;      /* slots that have room */
    uint32_t kept;          /* of `used`: slots that ledger_half_keep() has kept */
    uint64_t number;        /* of what is counted in it; 0: nothing is (ledger_give()) */
    uint32_t borrowed_from; /* from this slot on the room is memory; UINT32_MAX: nowhere */
    int fd;                 /* -1: all of it is memory */
    int64_t offset;         /* of the half in the file, bytes */
    struct ledger_map *map;
};

static inline struct usage_slot *ledger_half_slot(const struct ledger_half *half, uint32_t slot)
{
    return (struct usage_slot *)(void *)((char *)half->slots + slot * half->slot_size);
}

/* As ledger_half_record(), in a new slot. */
bool ledger_half_append(struct ledger_half *half, const struct row_id *api_key_id, int64_t now_us,
                        uint64_t tag, uint32_t *hint);

/* A key was allowed, or refused, at `now_us` (wall time, µs), which counts for `tag`. The caller
 * keeps *hint beside the key. False when the half is full: the use is not recorded. */
static inline bool ledger_half_record(struct ledger_half *half, const struct row_id *api_key_id,
                                      int64_t now_us, uint64_t tag, uint32_t *hint)
{
    if (*hint < half->used) {
        struct usage_slot *slot = ledger_half_slot(half, *hint);

        if (usage_slot_is_of(slot, half->type, api_key_id) && (slot->count ^ tag) <= COUNT_USES) {
            if (now_us > slot->last_used_us)
                *(volatile int64_t *)&slot->last_used_us = now_us;
            /* One store: a process that is killed has counted the use, or has not. */
            ++*(volatile uint64_t *)&slot->count;
            return true;
        }
    }
    return ledger_half_append(half, api_key_id, now_us, tag, hint);
}

/* Prefetch the slot that `hint` names, before ledger_half_record(). */
static inline void ledger_half_prefetch(const struct ledger_half *half, uint32_t hint)
{
    if (hint < half->used)
        __builtin_prefetch(ledger_half_slot(half, hint), 1);
}

/* Returns how many recorded entries are no longer in the half, because the file was cut short or
 * written to. Some of these may have been recorded again since. */
size_t ledger_half_lost(const struct ledger_half *half);

/* The half's counts are safe elsewhere, or written: forget them, and keep what moves last_used. A
 * process killed on the way leaves some of the counts. */
void ledger_half_forget_counts(struct ledger_half *half);

/* Keep only entries of pending keys, each once, and without counts, so that the half can be handed
 * on although its entries are nowhere else yet. A process killed on the way leaves all entries.
 * False, and nothing has changed, when out of memory. */
bool ledger_half_keep(struct ledger_half *half, const struct usage_batch *pending);

/* Empty every slot, for the next round, and return memory that this round did not need. May block:
 * back thread. */
void ledger_half_clear(struct ledger_half *half);

/* For the modules of the ledger. */

/* Of slots without a rest; of others there are half as many. */
enum {
    HALF_SLOTS = 1 << 24, /* 512 MiB of a sparse file: 16 M keys used between two flushes */
    GROW_SLOTS = 1 << 14, /* 512 KiB at a time: the front thread waits for the reservation */
};

static inline uint32_t ledger_half_step(const struct ledger_half *half)
{
    return GROW_SLOTS >> id_has_rest(half->type);
}

/* Returns how many slots are used at most. The last step is not: its end may share a page with the
 * next half, which another thread uses. */
static inline uint32_t ledger_half_slots(const struct ledger_half *half)
{
    return (HALF_SLOTS >> id_has_rest(half->type)) - ledger_half_step(half);
}

/* Make the file system reserve one more step, so that a store into it cannot fault. */
bool ledger_half_reserve(struct ledger_half *half);

/* Return empty slots to the system. */
bool ledger_half_punch(const struct ledger_half *half, uint32_t from, uint32_t slots);

#endif
