/* lookup_index: the lookups of a batch, by the key column's value.
 *
 * PostgreSQL's rows come in any order and name their key by its text. Two lookups may ask for the
 * same key (one of them an EXPLAIN), so a search continues until it finds no more. Back thread. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOOKUP_INDEX_H
#define APIKEYD_LOOKUP_INDEX_H

#include <apikeyd/base/slice.h>

#include "lookup.h"

/* All zeros: empty, owns nothing. */
struct lookup_index {
    struct lookup **slot; /* open addressing, at most half full; NULL ends a search */
    size_t slots;         /* a power of two */
    uint64_t seed;        /* so that an attacker cannot choose keys that collide */
};

/* Empty the index and make room for `len` lookups. Aborts when out of memory. */
void lookup_index_reset(struct lookup_index *index, size_t len);
void lookup_index_free(struct lookup_index *index);

void lookup_index_add(struct lookup_index *index, struct lookup *lookup);

/* Returns the next lookup of this key, or NULL. *place starts as 0 and belongs to the search. */
struct lookup *lookup_index_next(const struct lookup_index *index, struct slice key, size_t *place);

#endif
