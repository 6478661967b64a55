/* hmac_tag: the tag that ends a signed line in Redis.
 *
 * HMAC-SHA-256 over the name that the line stands under, a NUL, and the line, in hex after a blank.
 * A line that was moved to another name is forged. Pure. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HMAC_TAG_H
#define APIKEYD_HMAC_TAG_H

#include <apikeyd/base/slice.h>

/* The blank included. */
enum { HMAC_TAG_LEN = 1 + 64 };

/* Append the tag to the `len` bytes at `line`, which has room for HMAC_TAG_LEN more and a NUL.
 * Returns the new length; `len` with an empty secret, which signs nothing; 0 when libcrypto fails
 * or name and line are too long. */
size_t hmac_tag_append(struct slice name, char *line, size_t len, struct slice secret);

/* Take the tag off the end of *line if it is the right one. */
bool hmac_tag_take(struct slice name, struct slice *line, struct slice secret);

/* Take what may be a tag off the end of *line: this host has no secret to check it with. */
void hmac_tag_drop(struct slice *line);

#endif
