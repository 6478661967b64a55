/* SPDX-License-Identifier: MIT */
#include "lookup_index.h"

#include <stdlib.h>

#include <apikeyd/base/out_of_memory.h>

/* A multiplication moves differences to higher bits only. The shift moves them down again. */
static uint64_t mix(uint64_t hash)
{
    hash *= 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

/* Hash eight bytes at a time. The seed hides the places from clients, because clients choose the
 * keys. */
static size_t first_place(const struct lookup_index *index, struct slice key)
{
    uint64_t hash = index->seed ^ key.len;

    for (size_t done = 0; done < key.len; done += sizeof hash) {
        size_t left = key.len - done;
        uint64_t word = 0;

        memcpy(&word, key.at + done, left < sizeof word ? left : sizeof word);
        hash = mix(hash ^ word);
    }
    return mix(hash) & (index->slots - 1);
}

void lookup_index_reset(struct lookup_index *index, size_t len)
{
    size_t slots = index->slots ? index->slots : 16;

    while (slots < 2 * len)
        slots *= 2;
    if (slots != index->slots) {
        free(index->slot);
        index->slot = malloc(slots * sizeof(struct lookup *));
        if (!index->slot)
            out_of_memory();
        index->slots = slots;
        arc4random_buf(&index->seed, sizeof index->seed);
    }
    memset(index->slot, 0, slots * sizeof(struct lookup *));
}

void lookup_index_free(struct lookup_index *index)
{
    free(index->slot);
    *index = (struct lookup_index){0};
}

static struct slice key_of(const struct lookup *lookup)
{
    return (struct slice){lookup->request.key, lookup->request.key_len};
}

void lookup_index_add(struct lookup_index *index, struct lookup *lookup)
{
    size_t at = first_place(index, key_of(lookup));

    while (index->slot[at])
        at = (at + 1) & (index->slots - 1);
    index->slot[at] = lookup;
}

struct lookup *lookup_index_next(const struct lookup_index *index, struct slice key, size_t *place)
{
    struct lookup *lookup;

    /* Places count from 1, as 0 is a search that has not begun. */
    if (*place == 0)
        *place = first_place(index, key) + 1;
    while ((lookup = index->slot[(*place - 1) & (index->slots - 1)])) {
        struct slice held = key_of(lookup);

        ++*place;
        if (held.len == key.len && memcmp(held.at, key.at, key.len) == 0)
            return lookup;
    }
    return NULL;
}
