/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/watermarks.h>

#include <apikeyd/model/freshness.h>

/* Only keys that exist raise floors, so nobody gains by choosing where theirs fall. */
static size_t place_of(const struct digest *digest)
{
    return digest->word[0] % FLOORS;
}

void floors_init(struct floors *floors)
{
    for (size_t i = 0; i < FLOORS; i++)
        floors->of[i] = TIME_NEVER;
}

void floors_raise(struct floors *floors, const struct digest *digest, int64_t now_us)
{
    int64_t *floor_us = &floors->of[place_of(digest)];

    if (now_us > *floor_us)
        *floor_us = now_us;
}

int64_t floors_get(const struct floors *floors, const struct digest *digest)
{
    return floors->of[place_of(digest)];
}
