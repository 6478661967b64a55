/* digest: the only name of a key inside the daemon.
 *
 * The first 16 bytes of SHA-256 of the key column's value. The memory cache, Redis key names and
 * log fingerprints all use it, and psql can compute it
 * (left(encode(sha256(key_id::bytea), 'hex'), 32)), so the raw key need not be kept anywhere.
 *
 * A key has several digests while its row may hold one value or another (see key_hasher.h). The
 * first one names the key; a change of its row is announced by any of them.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DIGEST_H
#define APIKEYD_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_HEX_SIZE = 33, FINGERPRINT_SIZE = 12 };

struct digest {
    uint64_t word[2]; /* the 16 bytes as they lie in memory */
};

enum { DIGESTS_MAX = 5 };

/* The digests of one key: at least one. */
struct digests {
    size_t len;
    struct digest of[DIGESTS_MAX];
};

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* Returns the hash of a digest for tables. Callers choose their own keys, so without the `seed`
 * (secret, one per process) an attacker could pick keys that collide. */
static inline uint64_t digest_mix(const struct digest *digest, uint64_t seed)
{
    uint64_t mixed = (digest->word[0] ^ seed) * UINT64_C(0x9e3779b97f4a7c15);

    mixed ^= (mixed >> 32) ^ digest->word[1];
    mixed *= UINT64_C(0xd6e8feb86659fd93);
    return mixed ^ (mixed >> 32);
}

/* 32 lower-case hex digits and a NUL. */
void digest_to_hex(const struct digest *digest, char ret_hex[static DIGEST_HEX_SIZE]);

/* Read 32 lower-case hex digits. False, with *ret undefined, on any other text. */
bool digest_from_hex(const char *hex, struct digest *ret);

/* "fp:" and 8 hex digits: the name of a key in logs. */
void digest_fingerprint(const struct digest *digest, char ret_text[static FINGERPRINT_SIZE]);

/* Lower-case hex of `len` bytes, without a NUL. */
void hex_encode(const void *bytes, size_t len, char *ret_hex);

/* Decode 2 * len lower-case hex digits to `len` bytes. False, with the bytes undefined, on any
 * other digit. */
bool hex_decode(const char *hex, size_t len, void *ret_bytes);

#endif
