/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/digest_map.h>

#include <stdlib.h>

bool digest_map_init(struct digest_map *map, size_t expected, uint64_t seed)
{
    size_t buckets = 16;

    while (buckets < expected)
        buckets *= 2;
    *map = (struct digest_map){
        .bucket = calloc(buckets, sizeof(struct digest_node *)),
        .mask = buckets - 1,
        .seed = seed,
    };
    return map->bucket != NULL;
}

void digest_map_done(struct digest_map *map)
{
    free(map->bucket);
    map->bucket = NULL;
}

static struct digest_node **bucket_of(const struct digest_map *map, const struct digest *digest)
{
    return &map->bucket[digest_mix(digest, map->seed) & map->mask];
}

void digest_map_prefetch(const struct digest_map *map, const struct digest *digest)
{
    __builtin_prefetch(bucket_of(map, digest), 1);
}

struct digest_node *digest_map_find(const struct digest_map *map, const struct digest *digest)
{
    struct digest_node *node = *bucket_of(map, digest);

    while (node && !digest_equal(&node->digest, digest))
        node = node->next;
    return node;
}

void digest_map_add(struct digest_map *map, struct digest_node *node)
{
    struct digest_node **bucket = bucket_of(map, &node->digest);

    node->next = *bucket;
    *bucket = node;
    map->count++;
}

void digest_map_remove(struct digest_map *map, struct digest_node *node)
{
    struct digest_node **link = bucket_of(map, &node->digest);

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    map->count--;
}
