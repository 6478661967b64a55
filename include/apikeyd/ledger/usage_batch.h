/* usage_batch: when each key was last used, one entry a key, sorted by key.
 *
 * What the back thread drains from the ledger and brings to PostgreSQL. Sorted, because rows are
 * then locked in one order by everybody, and because merging two batches by maximum is one walk.
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

/* Whether it can be a time at all: after 1999 and before 2200. Anything else in a file is damage.
 */
static inline bool usage_time_plausible(int64_t last_used_us)
{
    return last_used_us >= INT64_C(946684800000000) && last_used_us < INT64_C(7258118400000000);
}

/* What was found in entries that were read back from a file. */
struct usage_judged {
    size_t clamped; /* later than now, as a clock was ahead: they count as used now */
    size_t dropped; /* not plausible: damage of the entry, which is emptied */
};

/* Judge an entry by wall time. True unless it is not plausible. An empty entry is none. */
bool usage_judge(struct usage_slot *slot, int64_t now_us, struct usage_judged *judged);

struct usage_batch {
    struct usage_slot *slots;
    size_t len;
    size_t cap;
    struct store_id owner; /* the store of these rows, on any timeline; zeros: unknown */
};

/* Merge `len` slots in any order, duplicates and zero entries included. `slots` is read only.
 * False, with the batch as it was, when out of memory. */
bool usage_batch_merge(struct usage_batch *batch, const struct usage_slot *slots, size_t len);

/* Keep only the entries whose last_used is not zero. */
void usage_batch_compact(struct usage_batch *batch);

/* NULL when the key has no entry. */
struct usage_slot *usage_batch_find(const struct usage_batch *batch, const struct uuid *api_key_id);

void usage_batch_free(struct usage_batch *batch);

#endif
