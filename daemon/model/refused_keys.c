/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/refused_keys.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(REFUSED_MAX % REFUSED_WAYS == 0, "sets are whole");

struct refused_keys *refused_keys_new(enum id_type type, int64_t wall_us)
{
    struct refused_keys *keys = calloc(1, sizeof *keys);

    if (!keys)
        return NULL;
    keys->id_type = type;
    keys->since_us = wall_us;
    return keys;
}

void refused_keys_note(struct refused_keys *keys, const struct digest *digest,
                       const struct verdict *verdict, int64_t wall_us)
{
    struct refused_key *set =
        &keys->key[digest->word[0] % (REFUSED_MAX / REFUSED_WAYS) * REFUSED_WAYS];
    struct refused_key *place = set;

    /* A free entry was refused in 1970: it is the oldest. */
    for (int i = 0; i < REFUSED_WAYS; i++) {
        if (set[i].count > 0 && digest_equal(&set[i].digest, digest)) {
            place = &set[i];
            break;
        }
        if (set[i].last_us < place->last_us)
            place = &set[i];
    }
    if (place->count == 0 || !digest_equal(&place->digest, digest)) {
        keys->replaced += place->count > 0;
        *place = (struct refused_key){.digest = *digest, .first_us = wall_us};
    }
    place->api_key_id = verdict->api_key_id;
    place->kind = verdict->kind;
    place->count++;
    place->last_us = wall_us;
}

struct refused_keys *refused_keys_copy(const struct refused_keys *keys)
{
    struct refused_keys *copy = malloc(sizeof *copy);

    if (copy)
        memcpy(copy, keys, sizeof *copy);
    return copy;
}

static int by_last(const void *a, const void *b)
{
    int64_t one = ((const struct refused_key *)a)->last_us;
    int64_t other = ((const struct refused_key *)b)->last_us;

    return (one < other) - (one > other);
}

size_t refused_keys_sort(struct refused_keys *keys)
{
    size_t len = 0;

    for (size_t i = 0; i < REFUSED_MAX; i++) {
        if (keys->key[i].count > 0)
            keys->key[len++] = keys->key[i];
    }
    qsort(keys->key, len, sizeof keys->key[0], by_last);
    return len;
}
