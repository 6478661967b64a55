/* attributes: columns of a key's row, as text, that travel with an ALLOW beside the two IDs.
 *
 * They are one run of bytes, the same in a row's answer, in messages, in memory and in Redis:
 *
 *     a04goldb0aread write
 *
 * Each attribute is the letter of its column (a: the first one of postgres.attribute_columns), the
 * length of its value in two hexadecimal digits, and the value. The columns come in order, each at
 * most once. A column that is NULL, or that a lookup left out, is not there. The key's quota may
 * stand in front of them (quota.h). Names are those of the
 * configuration (attribute_columns.h), so that daemons with other columns must not share them.
 *
 * A struct attributes is a view and owns nothing, unless its holder says that it was made by
 * attributes_copy(). The functions are pure, and allocate nothing but a copy.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ATTRIBUTES_H
#define APIKEYD_ATTRIBUTES_H

#include <apikeyd/base/slice.h>

enum {
    ATTRIBUTES_MAX = 16,          /* columns */
    ATTRIBUTE_VALUE_MAX = 255,    /* bytes of a value */
    ATTRIBUTES_VALUES_MAX = 1024, /* bytes of all values of a key */
    ATTRIBUTE_HEAD_LEN = 3,       /* bytes before a value */
    ATTRIBUTE_QUOTA = '#',        /* in the place of a column's letter: quota.h */
    QUOTA_DIGITS_MAX = 19,
    ATTRIBUTES_LEN_MAX = ATTRIBUTES_VALUES_MAX + ATTRIBUTES_MAX * ATTRIBUTE_HEAD_LEN +
                         ATTRIBUTE_HEAD_LEN + QUOTA_DIGITS_MAX
};

struct attributes {
    const char *at; /* well-formed; as long as their holder says */
    size_t len;     /* bytes; 0: there are none */
};

struct attribute {
    unsigned column; /* place in postgres.attribute_columns, from 0 */
    struct slice value;
};

/* The value of a hexadecimal digit, as the bytes have it. */
static inline size_t attribute_digit(char c)
{
    return ((size_t)c & 15) + ((size_t)c >> 6) * 9;
}

/* Take the first attribute off *rest. False when there is none. */
static inline bool attributes_take(struct attributes *rest, struct attribute *ret)
{
    if (rest->len < ATTRIBUTE_HEAD_LEN)
        return false;
    size_t len = attribute_digit(rest->at[1]) << 4 | attribute_digit(rest->at[2]);
    *ret = (struct attribute){(unsigned)(rest->at[0] - 'a'), {rest->at + ATTRIBUTE_HEAD_LEN, len}};
    rest->at += ATTRIBUTE_HEAD_LEN + len;
    rest->len -= ATTRIBUTE_HEAD_LEN + len;
    return true;
}

size_t attributes_count(struct attributes attributes);

/* The bytes while they are put together. Zeros: none yet. */
struct attributes_draft {
    size_t len, values_len;
    char bytes[ATTRIBUTES_LEN_MAX];
};

/* Append a value, of a later column than those that are there. False, and nothing happens, when the
 * value is too long or the values together would be. */
__attribute__((warn_unused_result)) bool attributes_append(struct attributes_draft *draft,
                                                           unsigned column, struct slice value);

/* As long as the draft lives and does not change. */
static inline struct attributes attributes_of(const struct attributes_draft *draft)
{
    return (struct attributes){draft->bytes, draft->len};
}

/* Take well-formed attributes of at most `columns` columns, behind a quota or without one, up to a
 * blank or the end, off the front of *text, which may be anything. False when something else is
 * there. */
__attribute__((warn_unused_result)) bool attributes_parse(struct slice *text, unsigned columns,
                                                          struct attributes *ret);

/* Returns a copy that attributes_free() frees. The process ends when out of memory. */
struct attributes attributes_copy(struct attributes attributes);
void attributes_free(struct attributes *copy);

#endif
