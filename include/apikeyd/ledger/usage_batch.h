/* usage_batch: when each key was last used, one entry a key, sorted by key.
 *
 * The back thread drains batches from the ledger and writes them to PostgreSQL. A batch is sorted,
 * because then all writers lock rows in one order, and because a merge of two batches by maximum is
 * one walk.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_BATCH_H
#define APIKEYD_USAGE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apikeyd/model/store.h>
#include <apikeyd/model/verdict.h>

struct usage_slot {
    struct uuid api_key_id;
    int64_t last_used_us; /* wall time, µs since 1970 (UTC); 0 is no entry */
    uint64_t count;       /* ALLOWs since the slot was taken */
};

_Static_assert(sizeof(struct usage_slot) == 32, "usage slots are a file format");

/* Returns whether the time is plausible: after 1999 and before 2200. Any other value in a file is
 * damage.
 */
static inline bool usage_time_plausible(int64_t last_used_us)
{
    return last_used_us >= INT64_C(946684800000000) && last_used_us < INT64_C(7258118400000000);
}

/* Faults in entries that were read back from a file. */
struct usage_judged {
    size_t clamped; /* later than now, because a clock was ahead: count as used now */
    size_t dropped; /* implausible, so damaged: the entry is emptied */
};

/* Judge an entry by wall time. False when its time is implausible; an empty entry passes. */
bool usage_judge(struct usage_slot *slot, int64_t now_us, struct usage_judged *judged);

struct usage_batch {
    struct usage_slot *slots;
    size_t len;
    size_t cap;
    struct store_id owner; /* the store of these rows, on any timeline; zeros: unknown */
};

/* Merge `len` slots, in any order, with duplicates and zero entries. `slots` is only read. False,
 * with the batch as it was, when out of memory. */
bool usage_batch_merge(struct usage_batch *batch, const struct usage_slot *slots, size_t len);

/* Keep only the entries whose last_used is not zero. */
void usage_batch_compact(struct usage_batch *batch);

/* Returns the key's entry, or NULL. */
struct usage_slot *usage_batch_find(const struct usage_batch *batch, const struct uuid *api_key_id);

void usage_batch_free(struct usage_batch *batch);

#endif
