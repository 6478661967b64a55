/* slice: a run of bytes that somebody else owns.
 *
 * Valid as long as its owner says; never NUL-terminated. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SLICE_H
#define APIKEYD_SLICE_H

#include <stdbool.h>
#include <stddef.h>
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

#endif
