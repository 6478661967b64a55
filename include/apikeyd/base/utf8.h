/* utf8: whether PostgreSQL accepts a text. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UTF8_H
#define APIKEYD_UTF8_H

#include <apikeyd/base/slice.h>

/* Well-formed UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF) without a NUL. */
bool utf8_valid_text(struct slice text);

#endif
