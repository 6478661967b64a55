/* refused_keys: which inactive or expired keys clients go on sending.
 *
 * A table of fixed size, filled by the front thread: one entry for each key of a row that was
 * refused, with how often and when. A key has one set of entries. When its set is full, the key
 * goes whose last refusal is the longest ago: a key that somebody goes on sending is not that one,
 * however rarely it is sent, unless seven others of its set were sent since. The table says how
 * many keys have gone. It knows of this process's refusals only. One thread owns a table.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REFUSED_KEYS_H
#define APIKEYD_REFUSED_KEYS_H

#include <apikeyd/model/digest.h>
#include <apikeyd/model/verdict.h>

enum { REFUSED_WAYS = 8, REFUSED_MAX = 4096 };

struct refused_key {
    struct digest digest;
    struct row_id api_key_id;
    enum verdict_kind kind;    /* of the last refusal: DENY inactive or DENY expired */
    uint64_t count;            /* since the first one; 0: the entry is free */
    int64_t first_us, last_us; /* µs since 1970 */
};

struct refused_keys {
    enum id_type id_type;
    int64_t since_us;  /* since when refusals are noted, µs since 1970 */
    uint64_t replaced; /* entries that went for another key's */
    struct refused_key key[REFUSED_MAX];
};

/* NULL when out of memory. Memory is used as it is needed. Free with free(). */
struct refused_keys *refused_keys_new(enum id_type type, int64_t wall_us);

/* Note that the key with that digest was refused; the verdict is about a row. */
void refused_keys_note(struct refused_keys *keys, const struct digest *digest,
                       const struct verdict *verdict, int64_t wall_us);

/* A copy, or NULL when out of memory. Free with free(). */
struct refused_keys *refused_keys_copy(const struct refused_keys *keys);

/* Move the keys that were refused last to the front; returns how many keys there are. Nothing can
 * be noted in the table after that. */
size_t refused_keys_sort(struct refused_keys *keys);

#endif
