/* redis_reply: what Redis answers, read from bytes that need not be Redis's.
 *
 * A reader has all of its memory from the start: no reply makes it grow, whatever length the
 * reply announces, and a longer one ends the reader with -EMSGSIZE. hiredis does the parsing and
 * hands each part over as it comes (redisReplyObjectFunctions), so nothing of it shows here. RESP2
 * only. Any one thread.
 *
 *     bytes ──feed──▶ hiredis ──parts──▶ texts, elements ──take──▶ one reply
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_REPLY_H
#define APIKEYD_REDIS_REPLY_H

#include <apikeyd/base/slice.h>

/* The bytes of one reply, with its framing, and its elements at all depths. Our own values have
 * 200 bytes at most, and no more than a thousand are asked for at once. */
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

struct redis_reader;

/* NULL when out of memory. */
struct redis_reader *redis_reader_new(void);
void redis_reader_free(struct redis_reader *reader);

/* Give it bytes, a few KiB at a time: that much more than a reply's maximum may be held until
 * redis_reader_take() looks. False when out of memory. */
__attribute__((warn_unused_result)) bool redis_reader_feed(struct redis_reader *reader,
                                                           const void *bytes, size_t len);

/* 1 with the next reply, which holds until the next call for this reader; 0 when more bytes are
 * needed; -EMSGSIZE for a reply that is too long, -EPROTO for what is none. After an error the
 * reader is of no more use. */
__attribute__((warn_unused_result)) int redis_reader_take(struct redis_reader *reader,
                                                          const struct redis_reply **ret);

#endif
