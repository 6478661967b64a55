/* key_form: the form of keys that can be told from noise.
 *
 *     acme_live_0yZ4QbTmUc3rK9sWn1PxVdEa1CatfJ
 *     prefix   _ 22 or more random digits, then 6 of a checksum
 *
 * The digits are those of base 62: 0-9, A-Z, a-z. The checksum is the CRC-32 of all that stands
 * before it (ISO 3309, as in zlib), the highest digit first. So a scanner recognises a leaked key
 * by its prefix, and a mistyped or made-up key is recognised without a lookup: a wrong digit
 * always, any other key but one in 4,294,967,296.
 *
 * The checksum is no secret and no proof: whoever knows the form can make such a key. It says which
 * keys cannot exist, never which do. All functions are pure, and allocate nothing but where they
 * print.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_FORM_H
#define APIKEYD_KEY_FORM_H

#include <apikeyd/base/buffer.h>

enum key_form { KEY_FORM_ANY, KEY_FORM_PREFIXED };

enum {
    KEY_PREFIXES_MAX = 8,
    KEY_PREFIX_MAX = 16,  /* bytes */
    KEY_RANDOM_MIN = 22,  /* digits: 130 bits */
    KEY_RANDOM_LEN = 24,  /* of keys that are made here: 142 bits */
    KEY_CHECKSUM_LEN = 6, /* 62 to the power of 6 is more than 2 to the power of 32 */
    KEY_DIGITS = 62,
    KEY_MADE_SIZE = KEY_PREFIX_MAX + 1 + KEY_RANDOM_LEN + KEY_CHECKSUM_LEN + 1, /* with its NUL */
};

/* keys.prefix: the first prefix is that of new keys. */
struct key_prefixes {
    size_t len;
    char prefix[KEY_PREFIXES_MAX][KEY_PREFIX_MAX + 1];
};

/* Parse a list with commas in between. Returns NULL, or what is wrong (perhaps in `scratch`) with
 * *ret unchanged. */
const char *key_prefixes_parse(const char *text, struct key_prefixes *ret, char *scratch,
                               size_t scratch_size);

/* Append the list as key_prefixes_parse() takes it. */
void key_prefixes_print(const struct key_prefixes *prefixes, struct buffer *out);

/* Returns whether both lists allow the same keys. */
bool key_prefixes_equal(const struct key_prefixes *a, const struct key_prefixes *b);

/* Returns whether `key` has the form, with one of the prefixes. */
bool key_form_fits(const struct key_prefixes *prefixes, struct slice key);

/* Make the key with these random digits, each from 0 to KEY_DIGITS - 1. */
void key_form_make(const char *prefix, const unsigned char random[static KEY_RANDOM_LEN],
                   char ret[static KEY_MADE_SIZE]);

#endif
