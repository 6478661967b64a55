/* SPDX-License-Identifier: MIT */
#include "apikeyd/digest.h"

void hex_encode(const void *bytes, size_t len, char *ret_hex)
{
    static const char digit[] = "0123456789abcdef";
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < len; i++) {
        ret_hex[2 * i] = digit[byte[i] >> 4];
        ret_hex[2 * i + 1] = digit[byte[i] & 15];
    }
}

void digest_to_hex(const struct digest *digest, char ret_hex[static DIGEST_HEX_SIZE])
{
    hex_encode(digest, sizeof *digest, ret_hex);
    ret_hex[DIGEST_HEX_SIZE - 1] = '\0';
}

void digest_fingerprint(const struct digest *digest, char ret_text[static FINGERPRINT_SIZE])
{
    ret_text[0] = 'f';
    ret_text[1] = 'p';
    ret_text[2] = ':';
    hex_encode(digest, 4, ret_text + 3);
    ret_text[FINGERPRINT_SIZE - 1] = '\0';
}
