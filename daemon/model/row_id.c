/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/row_id.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/model/digest.h>

/* -9223372036854775808, with a NUL. */
enum { BIGINT_SIZE = 21 };

const char *id_type_name(enum id_type type)
{
    static const char *const name[] = {
        [ID_UUID] = "uuid", [ID_BIGINT] = "bigint", [ID_TEXT] = "text"};

    return name[type];
}

void uuid_to_text(const struct id_head *uuid, char *ret_text)
{
    const uint8_t *b = uuid->bytes;

    hex_encode(b, 4, ret_text);
    ret_text[8] = '-';
    hex_encode(b + 4, 2, ret_text + 9);
    ret_text[13] = '-';
    hex_encode(b + 6, 2, ret_text + 14);
    ret_text[18] = '-';
    hex_encode(b + 8, 2, ret_text + 19);
    ret_text[23] = '-';
    hex_encode(b + 10, 6, ret_text + 24);
}

bool uuid_from_text(const char *text, struct id_head *ret)
{
    uint8_t *b = ret->bytes;

    return text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' &&
           hex_decode(text, 4, b) && hex_decode(text + 9, 2, b + 4) &&
           hex_decode(text + 14, 2, b + 6) && hex_decode(text + 19, 2, b + 8) &&
           hex_decode(text + 24, 6, b + 10);
}

static const uint64_t sign = UINT64_C(1) << 63;

void row_id_from_bigint(int64_t number, struct row_id *ret)
{
    uint64_t bytes = htobe64((uint64_t)number ^ sign);

    *ret = (struct row_id){0};
    memcpy(&ret->head, &bytes, sizeof bytes);
}

int64_t row_id_to_bigint(const struct row_id *id)
{
    uint64_t bytes;

    memcpy(&bytes, &id->head, sizeof bytes);
    return (int64_t)(be64toh(bytes) ^ sign);
}

static size_t print_bigint(const struct row_id *id, char *ret_text)
{
    char text[BIGINT_SIZE];
    size_t len = (size_t)snprintf(text, sizeof text, "%" PRId64, row_id_to_bigint(id));

    memcpy(ret_text, text, len);
    return len;
}

/* One text for each number: no plus sign, no zero in front. */
static bool read_bigint(struct slice text, struct row_id *ret)
{
    char copy[BIGINT_SIZE] = "", again[ID_TEXT_MAX];

    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.at, text.len);
    errno = 0;
    row_id_from_bigint(strtoll(copy, NULL, 10), ret);
    return errno == 0 && print_bigint(ret, again) == text.len &&
           memcmp(again, text.at, text.len) == 0;
}

static bool read_text(struct slice text, struct row_id *ret)
{
    if (text.len == 0 || text.len > ID_TEXT_MAX || !utf8_valid_text(text))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.at[i] <= ' ' || text.at[i] == 0x7f)
            return false;
    }
    *ret = (struct row_id){0};
    memcpy(ret, text.at, text.len);
    return true;
}

size_t row_id_to_text(const struct row_id *id, enum id_type type, char ret_text[static ID_TEXT_MAX])
{
    switch (type) {
    case ID_UUID:
        uuid_to_text(&id->head, ret_text);
        return UUID_TEXT_LEN;
    case ID_BIGINT:
        return print_bigint(id, ret_text);
    case ID_TEXT:
        break;
    }
    memcpy(ret_text, id, sizeof *id);
    return strnlen(ret_text, sizeof *id);
}

bool row_id_from_text(struct slice text, enum id_type type, struct row_id *ret)
{
    switch (type) {
    case ID_UUID:
        ret->rest = (struct id_rest){{0}};
        return text.len == UUID_TEXT_LEN && uuid_from_text(text.at, &ret->head);
    case ID_BIGINT:
        return read_bigint(text, ret);
    case ID_TEXT:
        break;
    }
    return read_text(text, ret);
}
