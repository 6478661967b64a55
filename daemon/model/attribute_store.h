/* attribute_store: the attributes of the verdicts in memory, in a region of a fixed size.
 *
 *     hand: where room is looked for next
 *      |
 *     [block][block][  free  ][block] …     in units of 32 bytes
 *
 * Each block belongs to a holder, a number that the owner chooses. When room is needed, a hand goes
 * round. It joins what is free, and at each block in its way the owner decides: the block goes, or
 * it is spared until the next round. So a new block costs a bounded number of steps, nothing is
 * moved, and nothing is allocated after the start. A holder that has no attributes costs nothing.
 * One thread owns a store.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ATTRIBUTE_STORE_H
#define APIKEYD_ATTRIBUTE_STORE_H

#include <stdint.h>

#include <apikeyd/model/attributes.h>

struct attribute_store;

/* A region of about `bytes`, and of 64 KiB at least. NULL when out of memory. */
struct attribute_store *attribute_store_new(size_t bytes);
void attribute_store_free(struct attribute_store *store);

/* Returns the holder's attributes, or none. They are valid until the next call that takes a store
 * that is not const. */
struct attributes attribute_store_get(const struct attribute_store *store, uint32_t holder);

/* Prefetch the holder's attributes: in step 0 what tells where they are, in step 1 themselves. */
void attribute_store_prefetch(const struct attribute_store *store, uint32_t holder, int step);

/* Put other attributes in the place of the holder's. False when it has none, or they need another
 * amount of room: then nothing happens. */
__attribute__((warn_unused_result)) bool attribute_store_replace(struct attribute_store *store,
                                                                 uint32_t holder,
                                                                 struct attributes attributes);

void attribute_store_remove(struct attribute_store *store, uint32_t holder);

/* A block that stands in the way. */
struct attribute_block {
    uint32_t holder;
    uint16_t mark; /* that it was put or spared with */
};

/* Returns whether attributes of `len` bytes have no room yet. Then *ret_block is in the way: remove
 * its holder's attributes, or spare them, and ask again. */
bool attribute_store_crowded(struct attribute_store *store, size_t len,
                             struct attribute_block *ret_block);
void attribute_store_spare(struct attribute_store *store, uint16_t mark);

/* Keep attributes (not none) of a holder that has none, for which there is room. */
void attribute_store_put(struct attribute_store *store, uint32_t holder,
                         struct attributes attributes, uint16_t mark);

struct attribute_store_stats {
    size_t bytes; /* of the region */
    size_t used;  /* bytes of it in blocks */
};

struct attribute_store_stats attribute_store_stats(const struct attribute_store *store);

#endif
