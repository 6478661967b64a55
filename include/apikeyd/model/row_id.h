/* row_id: the value of an ID column, of a row or of its owner.
 *
 * All IDs of a deployment have one type, postgres.id_type. An ID is 36 bytes: a head of 16 bytes,
 * which holds a UUID or a bigint whole, and a rest that only text has. So what is kept by the
 * million (a slot of the cache, of the ledger) has room for heads, and for text a second line with
 * the rests:
 *
 *     uuid     | 16 bytes                          |
 *     bigint   | 8 bytes, zeros                    |
 *     text     | the first 16 bytes                | 20 bytes, zeros behind the text |
 *
 * Two IDs of one type compare as bytes as their values do: a bigint is big-endian, with its sign
 * bit inverted; text compares as in collation "C".
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ROW_ID_H
#define APIKEYD_ROW_ID_H

#include <apikeyd/base/slice.h>

enum id_type { ID_UUID, ID_BIGINT, ID_TEXT };

struct id_head {
    uint8_t bytes[16];
};

struct id_rest {
    uint8_t bytes[20];
};

struct row_id {
    struct id_head head;
    struct id_rest rest; /* zeros unless the type is text */
};

enum { ID_TEXT_MAX = sizeof(struct row_id), UUID_TEXT_LEN = 36 };

_Static_assert(sizeof(struct row_id) == 36, "an ID has no padding");

/* Returns whether IDs of the type have a rest. */
static inline bool id_has_rest(enum id_type type)
{
    return type == ID_TEXT;
}

static inline int id_head_order(const struct id_head *a, const struct id_head *b)
{
    return memcmp(a, b, sizeof *a);
}

static inline bool id_head_equal(const struct id_head *a, const struct id_head *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline bool id_rest_equal(const struct id_rest *a, const struct id_rest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline int row_id_order(const struct row_id *a, const struct row_id *b)
{
    return memcmp(a, b, sizeof *a);
}

const char *id_type_name(enum id_type type); /* "uuid", "bigint", "text" */

/* Write the text of an ID, without a NUL. Returns its length, of at most ID_TEXT_MAX bytes. */
size_t row_id_to_text(const struct row_id *id, enum id_type type,
                      char ret_text[static ID_TEXT_MAX]);

/* Read a text that row_id_to_text() can have written. False, with *ret undefined, on any other: an
 * ID of type text is of 1 to 36 bytes of UTF-8 without blanks and control characters, which could
 * not stand in a line or in an HTTP field. */
bool row_id_from_text(struct slice text, enum id_type type, struct row_id *ret);

void row_id_from_bigint(int64_t number, struct row_id *ret);
int64_t row_id_to_bigint(const struct row_id *id);

/* Exactly UUID_TEXT_LEN lower-case characters (RFC 9562), without a NUL. */
void uuid_to_text(const struct id_head *uuid, char *ret_text);

/* Read the text that uuid_to_text() writes. False, with *ret undefined, on any other text. */
bool uuid_from_text(const char *text, struct id_head *ret);

#endif
