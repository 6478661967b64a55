/* SPDX-License-Identifier: MIT */
#include "hmac_tag.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <apikeyd/model/digest.h>

enum { TAG_LEN = 32, TAG_HEX_LEN = 2 * TAG_LEN, INPUT_MAX = 4096 };

static bool make_tag(struct slice name, struct slice line, struct slice secret,
                     char ret_hex[static TAG_HEX_LEN])
{
    unsigned char input[INPUT_MAX];
    unsigned char tag[TAG_LEN];
    size_t len = 0;

    if (name.len + 1 + line.len > sizeof input)
        return false;
    memcpy(input, name.at, name.len);
    input[name.len] = '\0';
    memcpy(input + name.len + 1, line.at, line.len);
    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret.at, secret.len, input,
                   name.len + 1 + line.len, tag, sizeof tag, &len))
        return false;
    hex_encode(tag, TAG_LEN, ret_hex);
    return true;
}

size_t hmac_tag_append(struct slice name, char *line, size_t len, struct slice secret)
{
    if (secret.len == 0)
        return len;
    if (!make_tag(name, (struct slice){line, len}, secret, line + len + 1))
        return 0;
    line[len] = ' ';
    line[len + HMAC_TAG_LEN] = '\0';
    return len + HMAC_TAG_LEN;
}

bool hmac_tag_take(struct slice name, struct slice *line, struct slice secret)
{
    char tag[TAG_HEX_LEN];

    if (line->len < HMAC_TAG_LEN || line->at[line->len - HMAC_TAG_LEN] != ' ')
        return false;
    struct slice body = {line->at, line->len - HMAC_TAG_LEN};
    if (!make_tag(name, body, secret, tag) ||
        CRYPTO_memcmp(tag, body.at + body.len + 1, TAG_HEX_LEN) != 0)
        return false;
    *line = body;
    return true;
}

void hmac_tag_drop(struct slice *line)
{
    if (line->len >= HMAC_TAG_LEN && line->at[line->len - HMAC_TAG_LEN] == ' ')
        line->len -= HMAC_TAG_LEN;
}
