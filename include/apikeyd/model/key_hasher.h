/* key_hasher: from the bytes that a caller sent to the value in the key column and its digest.
 *
 * Without a transform the column holds the key itself. With hmac-sha256 the column holds the hex
 * HMAC of the key, and the digest is that of the hex text. Without a transform hashing allocates
 * nothing. One thread owns a hasher.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_HASHER_H
#define APIKEYD_KEY_HASHER_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/digest.h>

enum { KEY_LEN_MAX = 255 };

enum key_transform { KEY_TRANSFORM_NONE, KEY_TRANSFORM_HMAC_SHA256 };

struct key_hasher;

/* `secret` is copied; it is needed for hmac-sha256 only. NULL when libcrypto or memory fails. */
struct key_hasher *key_hasher_new(enum key_transform transform, struct slice secret);
void key_hasher_free(struct key_hasher *hasher);

/* The digest of `key`. *ret_column is the column's value: `key` itself or text inside the hasher,
 * valid until the next call. False when libcrypto fails. */
bool key_hasher_digest(struct key_hasher *hasher, struct slice key, struct slice *ret_column,
                       struct digest *ret_digest);

/* As key_hasher_digest(), for the column's value alone. */
bool key_hasher_column(struct key_hasher *hasher, struct slice key, struct slice *ret_column);

#endif
