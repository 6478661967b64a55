/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/key_form.h>

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <apikeyd/model/key_hasher.h>

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static_assert(sizeof digits - 1 == KEY_DIGITS, "the digits of base 62");

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_digit(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

/* Bit by bit: a table of 256 numbers, or a library, would save half a microsecond in place of the
 * lookup that this saves. */
static uint32_t crc32(struct slice text)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < text.len; i++) {
        crc ^= (unsigned char)text.at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

static void checksum(struct slice text, char ret[static KEY_CHECKSUM_LEN])
{
    uint32_t rest = crc32(text);

    for (int i = KEY_CHECKSUM_LEN - 1; i >= 0; i--) {
        ret[i] = digits[rest % KEY_DIGITS];
        rest /= KEY_DIGITS;
    }
}

static bool has_prefix(const struct key_prefixes *prefixes, struct slice text)
{
    for (size_t i = 0; i < prefixes->len; i++) {
        if (strlen(prefixes->prefix[i]) == text.len &&
            memcmp(prefixes->prefix[i], text.at, text.len) == 0)
            return true;
    }
    return false;
}

/* Digits have no underscore, so the last one ends the prefix. */
bool key_form_fits(const struct key_prefixes *prefixes, struct slice key)
{
    char expected[KEY_CHECKSUM_LEN];
    size_t body = 0;

    if (key.len > KEY_LEN_MAX)
        return false;
    while (body < key.len && is_digit(key.at[key.len - 1 - body]))
        body++;
    if (body < KEY_RANDOM_MIN + KEY_CHECKSUM_LEN || body == key.len ||
        key.at[key.len - 1 - body] != '_' ||
        !has_prefix(prefixes, (struct slice){key.at, key.len - 1 - body}))
        return false;
    size_t before = key.len - KEY_CHECKSUM_LEN;
    checksum((struct slice){key.at, before}, expected);
    return memcmp(key.at + before, expected, sizeof expected) == 0;
}

void key_form_make(const char *prefix, const unsigned char random[static KEY_RANDOM_LEN],
                   char ret[static KEY_MADE_SIZE])
{
    size_t len = (size_t)snprintf(ret, KEY_PREFIX_MAX + 2, "%s_", prefix);

    for (int i = 0; i < KEY_RANDOM_LEN; i++)
        ret[len++] = digits[random[i]];
    checksum((struct slice){ret, len}, ret + len);
    ret[len + KEY_CHECKSUM_LEN] = '\0';
}

/* The form has one reading only if no prefix ends with an underscore. Scanners look for the start
 * of a word, which a letter makes. */
static bool is_prefix(struct slice text)
{
    if (text.len == 0 || text.len > KEY_PREFIX_MAX || !is_letter(text.at[0]) ||
        text.at[text.len - 1] == '_')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.at[i]) && text.at[i] != '_')
            return false;
    }
    return true;
}

/* Take what stands before the next comma. Returns whether there was one. */
static bool take_item(struct slice *rest, struct slice *ret)
{
    const char *comma = rest->len > 0 ? memchr(rest->at, ',', rest->len) : NULL;
    size_t len = comma ? (size_t)(comma - rest->at) : rest->len;

    *ret = slice_trim((struct slice){rest->at, len});
    rest->at += len + (comma ? 1 : 0);
    rest->len -= len + (comma ? 1 : 0);
    return comma != NULL;
}

const char *key_prefixes_parse(const char *text, struct key_prefixes *ret, char *scratch,
                               size_t scratch_size)
{
    struct key_prefixes prefixes = {0};
    struct slice rest = {text, strlen(text)}, item;

    for (bool more = true; more;) {
        more = take_item(&rest, &item);
        if (prefixes.len == KEY_PREFIXES_MAX || !is_prefix(item)) {
            snprintf(scratch, scratch_size,
                     "1 to %d prefixes with commas in between are needed, each of 1 to %d letters, "
                     "digits and underscores, with a letter first and no underscore last "
                     "(acme_live)",
                     KEY_PREFIXES_MAX, KEY_PREFIX_MAX);
            return scratch;
        }
        if (has_prefix(&prefixes, item)) {
            snprintf(scratch, scratch_size, "%.*s is listed twice; one of them has to go",
                     (int)item.len, item.at);
            return scratch;
        }
        memcpy(prefixes.prefix[prefixes.len++], item.at, item.len);
    }
    *ret = prefixes;
    return NULL;
}

void key_prefixes_print(const struct key_prefixes *prefixes, struct buffer *out)
{
    for (size_t i = 0; i < prefixes->len; i++)
        buffer_printf(out, "%s%s", i > 0 ? ", " : "", prefixes->prefix[i]);
}

bool key_prefixes_equal(const struct key_prefixes *a, const struct key_prefixes *b)
{
    bool equal = a->len == b->len;

    for (size_t i = 0; equal && i < a->len; i++)
        equal = has_prefix(b, (struct slice){a->prefix[i], strlen(a->prefix[i])});
    return equal;
}
