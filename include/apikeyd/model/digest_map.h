/* digest_map: find the work in flight for a digest.
 *
 * An intrusive chained hash table of fixed width: nodes live inside the caller's structs, so it
 * allocates nothing after _init and cannot fail. The front thread keeps its single flights in one.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DIGEST_MAP_H
#define APIKEYD_DIGEST_MAP_H

#include <apikeyd/model/digest.h>

struct digest_node {
    struct digest digest;
    struct digest_node *next;
};

struct digest_map {
    struct digest_node **bucket;
    size_t mask;
    uint64_t seed;
    size_t count;
};

/* Sized for about `expected` nodes; more nodes only make the map slower. False when out of
 * memory. */
bool digest_map_init(struct digest_map *map, size_t expected, uint64_t seed);
void digest_map_done(struct digest_map *map); /* the caller keeps the nodes */

/* Returns the node of `digest`, or NULL. */
struct digest_node *digest_map_find(const struct digest_map *map, const struct digest *digest);

/* Prefetch the memory that digest_map_find() touches first. */
void digest_map_prefetch(const struct digest_map *map, const struct digest *digest);

/* The caller has set node->digest, which must not be in the map yet. */
void digest_map_add(struct digest_map *map, struct digest_node *node);

/* The node must be in the map. */
void digest_map_remove(struct digest_map *map, struct digest_node *node);

#endif
