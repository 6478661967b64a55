/* SPDX-License-Identifier: MIT */
#include "apikeyd/key_hasher.h"

#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/params.h>

enum { SHA256_LEN = 32 };

struct key_hasher {
    EVP_MD *sha256;
    EVP_MD_CTX *context;
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
    hasher->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    hasher->context = EVP_MD_CTX_new();
    if (!hasher->sha256 || !hasher->context ||
        !EVP_DigestInit_ex2(hasher->context, hasher->sha256, NULL))
        goto fail;
    if (transform == KEY_TRANSFORM_HMAC_SHA256) {
        hasher->hmac = hmac_new(secret);
        if (!hasher->hmac)
            goto fail;
    }
    return hasher;

fail:
    key_hasher_free(hasher);
    return NULL;
}

void key_hasher_free(struct key_hasher *hasher)
{
    if (!hasher)
        return;
    EVP_MAC_CTX_free(hasher->hmac);
    EVP_MD_CTX_free(hasher->context);
    EVP_MD_free(hasher->sha256);
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

bool key_hasher_digest(struct key_hasher *hasher, struct slice key, struct slice *ret_column,
                       struct digest *ret_digest)
{
    unsigned char hash[SHA256_LEN];
    struct slice column = key;

    if (hasher->hmac && !transform(hasher, key, &column))
        return false;
    if (!EVP_DigestInit_ex2(hasher->context, NULL, NULL) ||
        !EVP_DigestUpdate(hasher->context, column.at, column.len) ||
        !EVP_DigestFinal_ex(hasher->context, hash, NULL))
        return false;
    memcpy(ret_digest, hash, sizeof *ret_digest);
    *ret_column = column;
    return true;
}
