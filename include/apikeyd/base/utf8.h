/* utf8: whether PostgreSQL, or a reader of JSON, accepts a text. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UTF8_H
#define APIKEYD_UTF8_H

#include <apikeyd/base/slice.h>

/* Returns the bytes of the well-formed sequence (RFC 3629: shortest form, no surrogates, up to
 * U+10FFFF, no NUL) that `text` begins with, or 0. `text` is not empty. */
size_t utf8_sequence_len(struct slice text);

/* All of it consists of such sequences. */
bool utf8_valid_text(struct slice text);

#endif
