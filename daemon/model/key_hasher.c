/* SPDX-License-Identifier: MIT */
/* The SHA256_ functions: OpenSSL 3 marks them as old, but those of EVP allocate at each call, and
 * the path of a request allocates nothing. */
#define OPENSSL_API_COMPAT 10101

#include <apikeyd/model/key_hasher.h>

#include <ctype.h>
#include <endian.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

enum { SHA256_LEN = SHA256_DIGEST_LENGTH, SHA256_WORDS = SHA256_LEN / 4 };

/* HMAC (RFC 2104) hashes two blocks that depend on the secret only, one before the text and one
 * before the hash of that. These are the states after them. */
struct hmac {
    SHA256_CTX inner, outer;
};

struct key_hasher {
    bool plain;  /* keys have one digest, of the key itself */
    bool single; /* keys have one digest */
    bool raw;    /* a column may hold the key itself */
    size_t secrets;
    struct hmac hmac[KEY_SECRETS_MAX];
};

/* A state that has taken the secret, each byte changed by `pad`. */
static void hmac_begin(SHA256_CTX *state, struct slice secret, unsigned char pad)
{
    unsigned char block[SHA256_CBLOCK] = {0};

    if (secret.len > sizeof block) {
        SHA256_Init(state);
        SHA256_Update(state, secret.at, secret.len);
        SHA256_Final(block, state);
    } else {
        memcpy(block, secret.at, secret.len);
    }
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= pad;
    SHA256_Init(state);
    SHA256_Update(state, block, sizeof block);
    OPENSSL_cleanse(block, sizeof block);
}

static struct hmac hmac_of(struct slice secret)
{
    struct hmac hmac;

    hmac_begin(&hmac.inner, secret, 0x36);
    hmac_begin(&hmac.outer, secret, 0x5c);
    return hmac;
}

static bool hmac_equal(const struct hmac *a, const struct hmac *b)
{
    return CRYPTO_memcmp(a->outer.h, b->outer.h, sizeof a->outer.h) == 0;
}

struct key_hasher *key_hasher_new(const struct slice *secrets, size_t len, bool fallback)
{
    struct key_hasher *hasher = calloc(1, sizeof *hasher);

    if (!hasher)
        return NULL;
    for (size_t i = 0; i < len && hasher->secrets < KEY_SECRETS_MAX; i++) {
        struct hmac *hmac = &hasher->hmac[hasher->secrets];
        size_t k = 0;

        *hmac = hmac_of(secrets[i]);
        while (!hmac_equal(&hasher->hmac[k], hmac))
            k++;
        hasher->secrets += k == hasher->secrets;
    }
    hasher->raw = fallback || hasher->secrets == 0;
    hasher->plain = hasher->secrets == 0;
    hasher->single = key_hasher_digest_count(hasher) == 1;
    return hasher;
}

struct key_hasher *key_hasher_copy(const struct key_hasher *hasher)
{
    struct key_hasher *copy = malloc(sizeof *copy);

    if (copy)
        *copy = *hasher;
    return copy;
}

void key_hasher_free(struct key_hasher *hasher)
{
    if (!hasher)
        return;
    OPENSSL_cleanse(hasher, sizeof *hasher);
    free(hasher);
}

size_t key_hasher_digest_count(const struct key_hasher *hasher)
{
    return hasher->secrets + hasher->raw;
}

static bool fits_block(struct slice text)
{
    return text.len <= SHA256_CBLOCK - 9;
}

/* End a state that has taken `before` bytes with text that fits into one block with its padding
 * (FIPS 180-4, section 5.1.1), as keys do: one call, where Update and Final would copy the block.
 */
static inline void end_with_block(SHA256_CTX *state, size_t before, struct slice text)
{
    unsigned char block[SHA256_CBLOCK] = {0};
    size_t bits = 8 * (before + text.len);

    memcpy(block, text.at, text.len);
    block[text.len] = 0x80;
    block[SHA256_CBLOCK - 2] = (unsigned char)(bits >> 8); /* in big-endian order */
    block[SHA256_CBLOCK - 1] = (unsigned char)bits;
    SHA256_Transform(state, block);
    explicit_bzero(block, text.len);
}

/* The first `words` words of the hash, as bytes. */
static inline void take_words(const SHA256_CTX *state, uint32_t *ret, int words)
{
    for (int i = 0; i < words; i++)
        ret[i] = htobe32(state->h[i]);
}

static inline __attribute__((always_inline)) void digest_of(struct slice text, struct digest *ret)
{
    uint32_t hash[SHA256_WORDS];
    SHA256_CTX state;

    SHA256_Init(&state);
    if (fits_block(text)) {
        end_with_block(&state, 0, text);
        take_words(&state, hash, sizeof *ret / sizeof hash[0]);
    } else {
        SHA256_Update(&state, text.at, text.len);
        SHA256_Final((unsigned char *)hash, &state);
    }
    memcpy(ret, hash, sizeof *ret);
}

/* As digest_of(), for a hash, whose hex text is one block. */
static void digest_of_hash(const char hash[static KEY_HASH_LEN], struct digest *ret)
{
    uint32_t words[sizeof *ret / sizeof(uint32_t)];
    SHA256_CTX state;

    SHA256_Init(&state);
    SHA256_Transform(&state, (const unsigned char *)hash);
    end_with_block(&state, KEY_HASH_LEN, (struct slice){"", 0});
    take_words(&state, words, sizeof words / sizeof words[0]);
    memcpy(ret, words, sizeof *ret);
}

/* The hex HMAC of `key`. */
static void hash_key(const struct hmac *hmac, struct slice key, char ret[static KEY_HASH_LEN])
{
    uint32_t hash[SHA256_WORDS];
    SHA256_CTX state = hmac->inner;

    if (fits_block(key)) {
        end_with_block(&state, SHA256_CBLOCK, key);
        take_words(&state, hash, SHA256_WORDS);
    } else {
        SHA256_Update(&state, key.at, key.len);
        SHA256_Final((unsigned char *)hash, &state);
    }
    state = hmac->outer;
    end_with_block(&state, SHA256_CBLOCK, (struct slice){(const char *)hash, sizeof hash});
    take_words(&state, hash, SHA256_WORDS);
    hex_encode(hash, sizeof hash, ret);
}

static void hashed_digest(const struct hmac *hmac, struct slice key, struct digest *ret)
{
    char hash[KEY_HASH_LEN];

    hash_key(hmac, key, hash);
    digest_of_hash(hash, ret);
}

bool key_hasher_digest(const struct key_hasher *hasher, struct slice key, struct digest *ret)
{
    if (hasher->plain) {
        digest_of(key, ret);
        return true;
    }
    if (hasher->single)
        hashed_digest(&hasher->hmac[0], key, ret);
    return hasher->single;
}

void key_hasher_digests(const struct key_hasher *hasher, struct slice key, struct digests *ret)
{
    ret->len = key_hasher_digest_count(hasher);
    for (size_t i = 0; i < hasher->secrets; i++)
        hashed_digest(&hasher->hmac[i], key, &ret->of[i]);
    if (hasher->raw)
        digest_of(key, &ret->of[hasher->secrets]);
}

void key_hasher_names(const struct key_hasher *hasher, struct slice key, struct key_names *ret)
{
    ret->hashes = hasher->secrets;
    ret->digests.len = key_hasher_digest_count(hasher);
    for (size_t i = 0; i < hasher->secrets; i++) {
        hash_key(&hasher->hmac[i], key, ret->hash[i]);
        digest_of_hash(ret->hash[i], &ret->digests.of[i]);
    }
    if (hasher->raw)
        digest_of(key, &ret->digests.of[hasher->secrets]);
}

bool key_hasher_equal(const struct key_hasher *a, const struct key_hasher *b)
{
    if (a->secrets != b->secrets || a->raw != b->raw)
        return false;
    for (size_t i = 0; i < a->secrets; i++) {
        if (!hmac_equal(&a->hmac[i], &b->hmac[i]))
            return false;
    }
    return true;
}

void key_hasher_mark(const struct key_hasher *hasher, struct digest *ret)
{
    static const struct slice text = {"apikeyd", 7};
    char hashes[KEY_SECRETS_MAX * KEY_HASH_LEN] = "";

    for (size_t i = 0; i < hasher->secrets; i++)
        hash_key(&hasher->hmac[i], text, &hashes[i * KEY_HASH_LEN]);
    digest_of((struct slice){hashes, hasher->secrets * KEY_HASH_LEN}, ret);
}

bool key_hash_stored(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (isupper((unsigned char)text.at[i]))
            return false;
    }
    return key_hash_form(text);
}

bool key_hash_form(struct slice text)
{
    if (text.len != KEY_HASH_LEN)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!isxdigit((unsigned char)text.at[i]))
            return false;
    }
    return true;
}
