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

/* What a slot's uses count for stands above them in `count`, so that one aligned store adds a use
 * to what it counts for, and a slot of another hour, or of another verdict, is not taken for this
 * one:
 *
 *     63        60 59            36 35                      0
 *     | verdict   | hour           | uses                   |
 *
 * The tag, which is what stands above the uses, is 0 while usage.counts is off. The hour counts
 * from 1970 (UTC), by PostgreSQL's clock; 0: the uses are counted elsewhere, or not at all. 36 bits
 * of uses are 19 million a second for an hour. */
enum { COUNT_HOUR_SHIFT = 36, COUNT_VERDICT_SHIFT = 60 };

#define COUNT_USES ((UINT64_C(1) << COUNT_HOUR_SHIFT) - 1)

static inline uint64_t usage_tag(enum verdict_kind kind, uint32_t hour)
{
    return (uint64_t)kind << COUNT_VERDICT_SHIFT | (uint64_t)hour << COUNT_HOUR_SHIFT;
}

/* A slot for an ID of type text has a struct usage_rest behind it: slots of that type lie two apart
 * in an array, see usage_slot_at(). */
struct usage_slot {
    struct id_head api_key_id;
    int64_t last_used_us; /* wall time, µs since 1970 (UTC); 0 is no entry */
    uint64_t count;       /* uses since the slot was taken, with their tag */
};

struct usage_rest {
    struct id_rest api_key_id;
    uint8_t unused[12]; /* zeros */
};

_Static_assert(sizeof(struct usage_slot) == 32, "usage slots are a file format");
_Static_assert(sizeof(struct usage_rest) == sizeof(struct usage_slot), "and so are their rests");

/* The bytes of a slot, with its rest. */
static inline size_t usage_slot_size(enum id_type type)
{
    return sizeof(struct usage_slot) << id_has_rest(type);
}

/* Returns slot `i` of an array of slots whose IDs have the type. */
static inline struct usage_slot *usage_slot_at(const struct usage_slot *slots, size_t i,
                                               enum id_type type)
{
    return (struct usage_slot *)slots + (i << id_has_rest(type));
}

static inline struct row_id usage_slot_id(const struct usage_slot *slot, enum id_type type)
{
    struct row_id id = {.head = slot->api_key_id};

    if (id_has_rest(type))
        id.rest = ((const struct usage_rest *)(slot + 1))->api_key_id;
    return id;
}

static inline bool usage_slot_is_of(const struct usage_slot *slot, enum id_type type,
                                    const struct row_id *id)
{
    return id_head_equal(&slot->api_key_id, &id->head) &&
           (!id_has_rest(type) ||
            id_rest_equal(&((const struct usage_rest *)(slot + 1))->api_key_id, &id->rest));
}

static inline void usage_slot_set_id(struct usage_slot *slot, enum id_type type,
                                     const struct row_id *id)
{
    slot->api_key_id = id->head;
    if (id_has_rest(type))
        *(struct usage_rest *)(slot + 1) = (struct usage_rest){.api_key_id = id->rest};
}

/* Returns whether the slot holds a use, which moves last_used: an ALLOW. A refusal is counted only.
 */
static inline bool usage_slot_is_use(const struct usage_slot *slot)
{
    return slot->last_used_us != 0 && (slot->count >> COUNT_VERDICT_SHIFT) <= VERDICT_ALLOW;
}

static inline uint32_t usage_slot_hour(const struct usage_slot *slot)
{
    return (uint32_t)(slot->count >> COUNT_HOUR_SHIFT) &
           ((1U << (COUNT_VERDICT_SHIFT - COUNT_HOUR_SHIFT)) - 1);
}

/* Returns whether the time is plausible: after 1999 and before 2200. Any other value in a file is
 * damage.
 */
static inline bool usage_time_plausible(int64_t last_used_us)
{
    return last_used_us >= INT64_C(946684800000000) && last_used_us < INT64_C(7258118400000000);
}

/* Faults in entries that were read back from a file. */
struct usage_judged {
    size_t clamped;     /* later than now, because a clock was ahead: count as used now */
    size_t dropped;     /* implausible, so damaged: the entry is emptied */
    uint64_t uncounted; /* uses of a damaged ledger: nothing says whether they were counted */
};

/* Judge an entry by wall time. False when its time is implausible; an empty entry passes. */
bool usage_judge(struct usage_slot *slot, int64_t now_us, struct usage_judged *judged);

struct usage_batch {
    struct usage_slot *slots; /* see usage_slot_at() */
    size_t len;
    size_t cap;
    enum id_type type;     /* set before the first merge */
    struct store_id owner; /* the store of these rows, on any timeline; zeros: unknown */
};

/* Merge the uses in `len` slots of the batch's type, in any order, with duplicates and zero
 * entries. `slots` is only read; the batch keeps no tags. False, with the batch as it was, when out
 * of memory. */
bool usage_batch_merge(struct usage_batch *batch, const struct usage_slot *slots, size_t len);

/* Keep only the entries whose last_used is not zero. */
void usage_batch_compact(struct usage_batch *batch);

/* Returns the key's entry, or NULL. */
struct usage_slot *usage_batch_find(const struct usage_batch *batch, const struct row_id *id);

/* Returns the index of an entry of the batch. */
static inline size_t usage_batch_index(const struct usage_batch *batch,
                                       const struct usage_slot *slot)
{
    return (size_t)(slot - batch->slots) >> id_has_rest(batch->type);
}

/* The batch keeps its type and its owner. */
void usage_batch_free(struct usage_batch *batch);

#endif
