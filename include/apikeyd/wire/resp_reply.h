/* resp_reply: writes RESP2 replies into a buffer. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESP_REPLY_H
#define APIKEYD_RESP_REPLY_H

#include <stdint.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/verdict.h>

void resp_simple(struct buffer *out, const char *text); /* +text */
/* -text; line breaks and other control characters become spaces. */
__attribute__((format(printf, 2, 3))) void resp_error(struct buffer *out, const char *format, ...);
void resp_integer(struct buffer *out, int64_t number);
void resp_bulk(struct buffer *out, struct slice bytes);
void resp_text(struct buffer *out, const char *text); /* a bulk string */
void resp_null(struct buffer *out);
void resp_array(struct buffer *out, size_t elements); /* the header; the elements follow */

/* The answer to CHECK: an array for ALLOW and DENY. `why` is the reason for UNAVAILABLE. */
void resp_verdict(struct buffer *out, const struct verdict *verdict, const char *why);

#endif
