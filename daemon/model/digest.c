/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/digest.h>

#include <string.h>

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

/* The value of a lower-case hex digit, or -1. */
static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

bool hex_decode(const char *hex, size_t len, void *ret_bytes)
{
    uint8_t *byte = ret_bytes;
    int wrong = 0;

    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex[2 * i]);
        int low = hex_value(hex[2 * i + 1]);

        wrong |= high | low;
        byte[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    return wrong >= 0;
}

bool digest_from_hex(const char *hex, struct digest *ret)
{
    return hex_decode(hex, sizeof *ret, ret);
}

void digest_fingerprint(const struct digest *digest, char ret_text[static FINGERPRINT_SIZE])
{
    ret_text[0] = 'f';
    ret_text[1] = 'p';
    ret_text[2] = ':';
    hex_encode(digest, 4, ret_text + 3);
    ret_text[FINGERPRINT_SIZE - 1] = '\0';
}
