/* resp_reply: writes Redis replies into a buffer.
 *
 * Most types are the same in both versions of the protocol. Those that RESP3 has on its own (Redis
 * protocol specification, "RESP versions") take `resp3`: a client that asked for it by HELLO 3 gets
 * the type, another one what Redis writes in its place in RESP2.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESP_REPLY_H
#define APIKEYD_RESP_REPLY_H

#include <stdint.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/attribute_columns.h>
#include <apikeyd/model/verdict.h>

void resp_simple(struct buffer *out, const char *text); /* +text */
/* -text; line breaks and other control characters become spaces. */
__attribute__((format(printf, 2, 3))) void resp_error(struct buffer *out, const char *format, ...);
void resp_integer(struct buffer *out, int64_t number);
void resp_bulk(struct buffer *out, struct slice bytes);
void resp_text(struct buffer *out, const char *text); /* a bulk string */
/* RFC 3339, UTC, as a bulk string; "none" for 0. µs since 1970. */
void resp_time(struct buffer *out, int64_t wall_us);
void resp_array(struct buffer *out, size_t elements); /* the header; the elements follow */
void resp_null(struct buffer *out, bool resp3);
void resp_set(struct buffer *out, size_t elements, bool resp3); /* RESP2: an array */
/* The header; names and values follow. RESP2: an array of both. */
void resp_map(struct buffer *out, size_t pairs, bool resp3);
void resp_verbatim(struct buffer *out, struct slice text, bool resp3); /* RESP2: a bulk string */

/* The answer to CHECK with ATTRIBUTES: as resp_verdict(), and behind the IDs of an ALLOW a map of
 * the names and values of its attributes. RESP2: an array of both. */
void resp_verdict_attributes(struct buffer *out, const struct verdict *verdict, const char *why,
                             const struct attribute_columns *columns, bool over_quota, bool resp3);

/* The answer to CHECK: an array for ALLOW and DENY. `why` is the reason for UNAVAILABLE. */
void resp_verdict(struct buffer *out, const struct verdict *verdict, const char *why);

#endif
