/* lookup_index: the lookups of a batch, by the texts that a column may hold for their keys.
 *
 * PostgreSQL's rows come in any order and name their key by its text. Two lookups may ask for the
 * same key (one of them an EXPLAIN), so a search continues until it finds no more. Back thread. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOOKUP_INDEX_H
#define APIKEYD_LOOKUP_INDEX_H

#include <apikeyd/base/slice.h>

#include "lookup.h"

struct lookup_entry {
    struct lookup *lookup; /* NULL ends a search */
    struct slice text;     /* lives in the lookup */
};

/* All zeros: empty, owns nothing. */
struct lookup_index {
    struct lookup_entry *slot; /* open addressing, at most half full */
    size_t slots;              /* a power of two */
    uint64_t seed;             /* so that an attacker cannot choose keys that collide */
};

/* Empty the index and make room for `len` texts. Aborts when out of memory. */
void lookup_index_reset(struct lookup_index *index, size_t len);
void lookup_index_free(struct lookup_index *index);

void lookup_index_add(struct lookup_index *index, struct lookup *lookup, struct slice text);

/* Returns the next lookup with this text, or NULL. *place starts as 0 and belongs to the search. */
struct lookup *lookup_index_next(const struct lookup_index *index, struct slice text,
                                 size_t *place);

#endif
