/* busy_keys: the keys with the most uses in the last hour, for the status page.
 *
 * The hour is six windows of ten minutes, of 256 keys each. Uses come in rounds, a key at a time.
 * A round, and then its window, keeps the 256 keys with the most uses, and notes what a key that
 * had to go can have had. So a key has at least the uses that are told of it, and at most `unseen`
 * uses more, which is less than a 128th of all uses: a key with a larger share is always told. Up
 * to 256 keys have all of their uses.
 *
 *     round of 100,000 keys ─▶ its 256 busiest ─▶ window: its 256 busiest ─▶ hour: 10 of them
 *
 * It takes 172 KiB, allocated once, and reads no clock: times are µs since the daemon's start and
 * never go back. A key that is not one of the busiest costs a comparison, a look at the hour sorts
 * 1,536 keys. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BUSY_KEYS_H
#define APIKEYD_BUSY_KEYS_H

#include <stdint.h>

#include <apikeyd/model/row_id.h>

struct busy_key {
    struct row_id api_key_id;
    uint64_t uses;
};

enum { BUSIEST_MAX = 10 };

struct busiest {
    enum id_type type;
    int64_t since_us; /* when the first window begins */
    uint64_t unseen;  /* uses that each key has besides, at most */
    size_t len;
    struct busy_key key[BUSIEST_MAX]; /* the busiest first */
};

struct busy_keys;

/* An empty one, or NULL when out of memory. */
struct busy_keys *busy_keys_new(enum id_type type);
void busy_keys_free(struct busy_keys *busy);

/* Add the uses of a key, once in a round. */
void busy_keys_add(struct busy_keys *busy, const struct row_id *api_key_id, uint64_t uses);

/* The round is over, and was at `at_us`. */
void busy_keys_end(struct busy_keys *busy, int64_t at_us);

/* The busiest of the hour before `at_us`. */
struct busiest busy_keys_look(struct busy_keys *busy, int64_t at_us);

#endif
