/* slice: a run of bytes, not owned by the slice.
 *
 * A slice is valid for as long as the owner of the bytes says, and never NUL-terminated. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SLICE_H
#define APIKEYD_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *at;
    size_t len;
};

/* ASCII case is ignored, as Redis does for command names. */
static inline bool slice_is(struct slice slice, const char *word)
{
    return slice.len == strlen(word) && strncasecmp(slice.at, word, slice.len) == 0;
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* Read 1 to 18 decimal digits. False, leaving *ret alone, when the slice is anything else. */
static inline bool slice_number(struct slice slice, int64_t *ret)
{
    int64_t number = 0;

    if (slice.len == 0 || slice.len > 18)
        return false;
    for (size_t i = 0; i < slice.len; i++) {
        if (slice.at[i] < '0' || slice.at[i] > '9')
            return false;
        number = number * 10 + (slice.at[i] - '0');
    }
    *ret = number;
    return true;
}

/* Without blanks and tabs at both ends. */
static inline struct slice slice_trim(struct slice text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Take the bytes of *text before `separator`, or all, and the separator. False when there are
 * none. */
static inline bool slice_take_part(struct slice *text, char separator, struct slice *ret)
{
    if (text->len == 0)
        return false;
    const char *end = memchr(text->at, separator, text->len);
    size_t len = end ? (size_t)(end - text->at) : text->len;

    *ret = (struct slice){text->at, len};
    len += end ? 1 : 0;
    text->at += len;
    text->len -= len;
    return true;
}

/* Take the next line of *text, without its end. False when there is none. */
static inline bool slice_take_line(struct slice *text, struct slice *ret)
{
    return slice_take_part(text, '\n', ret);
}

#endif
