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
static size_t first_place(const struct lookup_index *index, struct slice text)
{
    uint64_t hash = index->seed ^ text.len;

    for (size_t done = 0; done < text.len; done += sizeof hash) {
        size_t left = text.len - done;
        uint64_t word = 0;

        memcpy(&word, text.at + done, left < sizeof word ? left : sizeof word);
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
        index->slot = malloc(slots * sizeof *index->slot);
        if (!index->slot)
            out_of_memory();
        index->slots = slots;
        arc4random_buf(&index->seed, sizeof index->seed);
    }
    memset(index->slot, 0, slots * sizeof *index->slot);
}

void lookup_index_free(struct lookup_index *index)
{
    free(index->slot);
    *index = (struct lookup_index){0};
}

void lookup_index_add(struct lookup_index *index, struct lookup *lookup, struct slice text)
{
    size_t at = first_place(index, text);

    while (index->slot[at].lookup)
        at = (at + 1) & (index->slots - 1);
    index->slot[at] = (struct lookup_entry){lookup, text};
}

struct lookup *lookup_index_next(const struct lookup_index *index, struct slice text, size_t *place)
{
    const struct lookup_entry *entry;

    /* Places count from 1, as 0 is a search that has not begun. */
    if (*place == 0)
        *place = first_place(index, text) + 1;
    while ((entry = &index->slot[(*place - 1) & (index->slots - 1)])->lookup) {
        ++*place;
        if (slice_equal(entry->text, text))
            return entry->lookup;
    }
    return NULL;
}
