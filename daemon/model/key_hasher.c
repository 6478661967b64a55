/* SPDX-License-Identifier: MIT */
/* The SHA256_ functions: OpenSSL 3 marks them as old, but EVP_DigestInit_ex2() allocates at each
 * call, and the path of a request allocates nothing. */
#define OPENSSL_API_COMPAT 10101

#include <apikeyd/model/key_hasher.h>

#include <endian.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>

enum { SHA256_LEN = SHA256_DIGEST_LENGTH };

struct key_hasher {
    EVP_MAC_CTX *hmac; /* NULL without a transform */
    char column[2 * SHA256_LEN];
};

static EVP_MAC_CTX *hmac_new(struct slice secret)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };

    EVP_MAC_free(mac);
    if (context && !EVP_MAC_init(context, (const unsigned char *)secret.at, secret.len, params)) {
        EVP_MAC_CTX_free(context);
        return NULL;
    }
    return context;
}

struct key_hasher *key_hasher_new(enum key_transform transform, struct slice secret)
{
    struct key_hasher *hasher = calloc(1, sizeof *hasher);

    if (!hasher)
        return NULL;
    if (transform == KEY_TRANSFORM_HMAC_SHA256) {
        hasher->hmac = hmac_new(secret);
        if (!hasher->hmac) {
            free(hasher);
            return NULL;
        }
    }
    return hasher;
}

void key_hasher_free(struct key_hasher *hasher)
{
    if (!hasher)
        return;
    EVP_MAC_CTX_free(hasher->hmac);
    free(hasher);
}

/* The column's value for `key`: the hex HMAC of it, in the hasher's own room. */
static bool transform(struct key_hasher *hasher, struct slice key, struct slice *ret)
{
    unsigned char tag[SHA256_LEN];
    size_t len;

    /* Init without a key starts over with the one given first. */
    if (!EVP_MAC_init(hasher->hmac, NULL, 0, NULL) ||
        !EVP_MAC_update(hasher->hmac, (const unsigned char *)key.at, key.len) ||
        !EVP_MAC_final(hasher->hmac, tag, &len, sizeof tag))
        return false;
    hex_encode(tag, sizeof tag, hasher->column);
    *ret = (struct slice){hasher->column, sizeof hasher->column};
    return true;
}

bool key_hasher_column(struct key_hasher *hasher, struct slice key, struct slice *ret_column)
{
    if (hasher->hmac)
        return transform(hasher, key, ret_column);
    *ret_column = key;
    return true;
}

/* SHA-256 of bytes that fit into one block with padding (FIPS 180-4, section 5.1.1), as keys do:
 * one call, where Init, Update and Final would copy the block. */
static void digest_of_block(struct slice text, struct digest *ret)
{
    unsigned char block[SHA256_CBLOCK] = {0};
    uint32_t word[4];
    SHA256_CTX context;

    memcpy(block, text.at, text.len);
    block[text.len] = 0x80;
    block[SHA256_CBLOCK - 2] = (unsigned char)(text.len >> 5); /* bits, in big-endian order */
    block[SHA256_CBLOCK - 1] = (unsigned char)(text.len << 3);
    SHA256_Init(&context);
    SHA256_Transform(&context, block);
    for (int i = 0; i < 4; i++)
        word[i] = htobe32(context.h[i]);
    memcpy(ret, word, sizeof word);
    explicit_bzero(block, text.len);
}

bool key_hasher_digest(struct key_hasher *hasher, struct slice key, struct slice *ret_column,
                       struct digest *ret_digest)
{
    unsigned char hash[SHA256_LEN];
    struct slice column;
    SHA256_CTX context;

    if (!key_hasher_column(hasher, key, &column))
        return false;
    *ret_column = column;
    if (column.len <= SHA256_CBLOCK - 9) {
        digest_of_block(column, ret_digest);
        return true;
    }
    if (!SHA256_Init(&context) || !SHA256_Update(&context, column.at, column.len) ||
        !SHA256_Final(hash, &context))
        return false;
    memcpy(ret_digest, hash, sizeof *ret_digest);
    return true;
}
