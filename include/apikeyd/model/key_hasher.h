/* key_hasher: from the bytes that a caller sent to what its row may hold, and to their digests.
 *
 * Without secrets the key column holds the key itself: one value, one digest. With secrets the
 * column holds the hex HMAC-SHA-256 of the key by one of them; the first secret is that of new
 * keys. With a fallback column a row may hold the key itself there. Each of these values has a
 * digest, and all of them together are the key's digests, in this order: by each secret, and of the
 * key itself.
 *
 * Hashing cannot fail and allocates nothing. A hasher does not change, so threads may share one.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_HASHER_H
#define APIKEYD_KEY_HASHER_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/digest.h>

enum { KEY_LEN_MAX = 255, KEY_SECRETS_MAX = DIGESTS_MAX - 1, KEY_HASH_LEN = 64 };

enum key_transform { KEY_TRANSFORM_NONE, KEY_TRANSFORM_HMAC_SHA256 };

/* The values that the key column holds for one key, unless it holds the key itself (`hashes` is 0),
 * and all digests of the key. */
struct key_names {
    struct digests digests;
    size_t hashes;
    char hash[KEY_SECRETS_MAX][KEY_HASH_LEN]; /* lower-case hex, without a NUL */
};

struct key_hasher;

/* `secrets`: up to KEY_SECRETS_MAX, which are copied; none for columns that hold the key itself. A
 * secret that is given twice counts once. `fallback`: a second column may hold the key itself. NULL
 * when out of memory. */
struct key_hasher *key_hasher_new(const struct slice *secrets, size_t len, bool fallback);
struct key_hasher *key_hasher_copy(const struct key_hasher *hasher);
void key_hasher_free(struct key_hasher *hasher);

/* The digest of a key that has only one. False, with *ret undefined, when keys have several:
 * key_hasher_digests() gives them. */
bool key_hasher_digest(const struct key_hasher *hasher, struct slice key, struct digest *ret);

void key_hasher_digests(const struct key_hasher *hasher, struct slice key, struct digests *ret);

void key_hasher_names(const struct key_hasher *hasher, struct slice key, struct key_names *ret);

/* Returns whether the hashers give the same names to every key. */
bool key_hasher_equal(const struct key_hasher *a, const struct key_hasher *b);

/* Returns how many digests a key has. */
size_t key_hasher_digest_count(const struct key_hasher *hasher);

/* The digest of all secrets, which tells sets of them apart and does not tell the secrets. */
void key_hasher_mark(const struct key_hasher *hasher, struct digest *ret);

/* Returns whether `text` has the form of a stored hash: 64 hexadecimal digits, of either case. */
bool key_hash_form(struct slice text);

/* Returns whether a lookup can find `text` as a hash: the digits are of lower case. */
bool key_hash_stored(struct slice text);

#endif
