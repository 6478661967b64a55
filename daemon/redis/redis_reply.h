/* redis_reply: parses Redis's replies from untrusted bytes.
 *
 * A reader has all of its memory from the start: no reply makes it grow, even if the reply
 * announces a great length, and a longer reply ends the reader with -EMSGSIZE. hiredis parses, and
 * hands each part over as it comes (redisReplyObjectFunctions), so none of its types appear here.
 * RESP2 only. Any one thread.
 *
 *     bytes ──feed──▶ hiredis ──parts──▶ texts, elements ──take──▶ one reply
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_REPLY_H
#define APIKEYD_REDIS_REPLY_H

#include <apikeyd/base/slice.h>

/* Limits of one reply: bytes with framing, and elements at all depths. A request asks for
 * no more of our own values than fit (redis_tier_batch_max()). */
enum { REDIS_REPLY_MAX = 384 << 10, REDIS_ELEMENTS_MAX = 2048 };

enum redis_reply_kind {
    REPLY_NIL,
    REPLY_STATUS,
    REPLY_ERROR,
    REPLY_STRING,
    REPLY_INTEGER,
    REPLY_ARRAY,
};

struct redis_reply {
    enum redis_reply_kind kind;
    struct slice text; /* of a status, an error, a string */
    int64_t integer;
    size_t len; /* of an array … */
    struct redis_reply *element;
};

/* The text of an error, cut and without control characters, as it fits a log line. `size` is at
 * least 1. */
void redis_reply_quote(const struct redis_reply *error, char *ret, size_t size);

struct redis_reader;

/* NULL when out of memory. */
struct redis_reader *redis_reader_new(void);
void redis_reader_free(struct redis_reader *reader);

/* Feed bytes, a few KiB at a time: the reader may hold that much more than a reply's maximum until
 * redis_reader_take(). False when out of memory. */
__attribute__((warn_unused_result)) bool redis_reader_feed(struct redis_reader *reader,
                                                           const void *bytes, size_t len);

/* Returns 1 with the next reply, valid until the next call for this reader; 0 when more bytes are
 * needed; -EMSGSIZE for a reply that is too long, -EPROTO for malformed bytes. After an error the
 * reader cannot be used. */
__attribute__((warn_unused_result)) int redis_reader_take(struct redis_reader *reader,
                                                          const struct redis_reply **ret);

#endif
