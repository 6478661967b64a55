/* SPDX-License-Identifier: MIT */
#include "attribute_store.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    UNIT = 32,              /* bytes: places count units */
    REGION_MIN = 64 * 1024, /* more than what one key can need, many times */
    BYTES_PER_BUCKET = 256, /* about what a block takes */
};

/* A block, used or free: they fill the region without gaps. */
struct block {
    uint32_t holder; /* +1; 0: free */
    uint32_t next;   /* the next block of its bucket; 0: none. A free block is in no bucket */
    uint32_t units;
    uint16_t len;
    uint16_t mark;
    char bytes[];
};

struct attribute_store {
    uint32_t *bucket; /* places of blocks, by their holders; 0: none */
    uint32_t bucket_mask;
    char *arena;  /* place 0 stays empty */
    uint32_t end; /* the place behind the last block */
    uint32_t gap; /* from here to the hand all is free */
    uint32_t hand;
    uint32_t used; /* units */
    size_t bytes;
};

static struct block *block_at(const struct attribute_store *store, uint32_t place)
{
    return (void *)(store->arena + (size_t)place * UNIT);
}

static uint32_t units_for(size_t len)
{
    return (uint32_t)((sizeof(struct block) + len + UNIT - 1) / UNIT);
}

static uint32_t *bucket_of(const struct attribute_store *store, uint32_t holder)
{
    uint32_t mixed = holder * UINT32_C(0x9e3779b1);

    return &store->bucket[(mixed ^ mixed >> 15) & store->bucket_mask];
}

/* Make the units from `place` on a free block. */
static void make_free(struct attribute_store *store, uint32_t place, uint32_t units)
{
    struct block *block = block_at(store, place);

    block->holder = 0;
    block->units = units;
}

/* A new mapping is zero, so no page is touched before it is used. */
struct attribute_store *attribute_store_new(size_t bytes)
{
    struct attribute_store *store = calloc(1, sizeof *store);
    size_t buckets = 16;

    if (!store)
        return NULL;
    store->bytes = bytes > REGION_MIN ? bytes : REGION_MIN;
    while (buckets * 2 * BYTES_PER_BUCKET <= store->bytes)
        buckets *= 2;
    void *mapping =
        mmap(NULL, store->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
        free(store);
        return NULL;
    }
    store->bucket = mapping;
    store->bucket_mask = (uint32_t)(buckets - 1);
    store->arena = (char *)mapping + buckets * sizeof store->bucket[0];
    store->end = (uint32_t)((store->bytes - buckets * sizeof store->bucket[0]) / UNIT);
    store->gap = store->hand = 1;
    make_free(store, 1, store->end - 1);
    return store;
}

void attribute_store_free(struct attribute_store *store)
{
    if (!store)
        return;
    munmap(store->bucket, store->bytes);
    free(store);
}

/* The link that leads to the holder's block, or to 0. */
static uint32_t *find(const struct attribute_store *store, uint32_t holder)
{
    uint32_t *link = bucket_of(store, holder);

    while (*link != 0 && block_at(store, *link)->holder != holder + 1)
        link = &block_at(store, *link)->next;
    return link;
}

struct attributes attribute_store_get(const struct attribute_store *store, uint32_t holder)
{
    uint32_t place = *find(store, holder);

    if (place == 0)
        return (struct attributes){0};
    const struct block *block = block_at(store, place);
    return (struct attributes){block->bytes, block->len};
}

/* The first block of the bucket is likely the holder's. */
void attribute_store_prefetch(const struct attribute_store *store, uint32_t holder, int step)
{
    enum { LINE = 64, LINES = 4 };
    const uint32_t *bucket = bucket_of(store, holder);

    if (step == 0) {
        __builtin_prefetch(bucket);
        return;
    }
    const char *block = (const char *)block_at(store, *bucket);
    for (int line = 0; *bucket != 0 && line < LINES; line++)
        __builtin_prefetch(block + (size_t)line * LINE);
}

static void fill(struct block *block, struct attributes attributes)
{
    block->len = (uint16_t)attributes.len;
    memcpy(block->bytes, attributes.at, attributes.len);
}

bool attribute_store_replace(struct attribute_store *store, uint32_t holder,
                             struct attributes attributes)
{
    uint32_t place = *find(store, holder);

    if (place == 0 || block_at(store, place)->units != units_for(attributes.len))
        return false;
    fill(block_at(store, place), attributes);
    return true;
}

void attribute_store_remove(struct attribute_store *store, uint32_t holder)
{
    uint32_t *link = find(store, holder);

    if (*link == 0)
        return;
    struct block *block = block_at(store, *link);
    *link = block->next;
    block->holder = 0;
    store->used -= block->units;
}

bool attribute_store_crowded(struct attribute_store *store, size_t len,
                             struct attribute_block *ret_block)
{
    uint32_t needed = units_for(len);

    while (store->hand - store->gap < needed) {
        if (store->hand == store->end)
            store->gap = store->hand = 1;
        const struct block *block = block_at(store, store->hand);
        if (block->holder != 0) {
            *ret_block = (struct attribute_block){block->holder - 1, block->mark};
            return true;
        }
        store->hand += block->units;
    }
    return false;
}

void attribute_store_spare(struct attribute_store *store, uint16_t mark)
{
    struct block *block = block_at(store, store->hand);

    assert(block->holder != 0);
    block->mark = mark;
    store->hand += block->units;
    store->gap = store->hand;
}

void attribute_store_put(struct attribute_store *store, uint32_t holder,
                         struct attributes attributes, uint16_t mark)
{
    uint32_t units = units_for(attributes.len), place = store->gap;
    uint32_t left = store->hand - place - units;
    struct block *block = block_at(store, place);
    uint32_t *bucket = bucket_of(store, holder);

    assert(store->hand - place >= units && *find(store, holder) == 0);
    *block = (struct block){holder + 1, *bucket, units, 0, mark};
    fill(block, attributes);
    *bucket = place;
    store->used += units;
    store->gap = store->hand = place + units;
    if (left > 0)
        make_free(store, store->hand, left);
}

struct attribute_store_stats attribute_store_stats(const struct attribute_store *store)
{
    return (struct attribute_store_stats){store->bytes, (size_t)store->used * UNIT};
}
