/* resp_request: takes Redis requests out of a byte stream.
 *
 * Requests are RESP2 arrays of bulk strings, or inline commands, as in the Redis protocol
 * specification. The parser keeps no state and copies nothing: an incomplete request is parsed
 * again when more bytes have come. The limit on its size keeps that cheap.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESP_REQUEST_H
#define APIKEYD_RESP_REQUEST_H

#include <apikeyd/base/slice.h>

enum { RESP_ARGS_MAX = 32 };

struct resp_request {
    size_t argc;                      /* 0: an empty line or array, to be skipped */
    struct slice argv[RESP_ARGS_MAX]; /* into the parsed bytes */
};

enum resp_status {
    RESP_COMPLETE,
    RESP_INCOMPLETE, /* more bytes are needed */
    RESP_BROKEN,     /* the rest of the stream cannot be parsed */
};

/* Parse one request at the start of `input`. COMPLETE sets *ret and *ret_consumed, BROKEN sets
 * *ret_why to text that lives forever. `max_request` bounds a request's bytes. */
enum resp_status resp_request_parse(struct slice input, size_t max_request,
                                    struct resp_request *ret, size_t *ret_consumed,
                                    const char **ret_why);

/* Match "CHECK <key>", the most frequent request, as client libraries send it. Returns its length,
 * with the key (1 to 255 bytes) in *ret_key. 0 for another or an incomplete request: parse it. */
size_t resp_request_check(struct slice input, struct slice *ret_key);

/* The same for "CHECK <key> ATTRIBUTES". Apart, so that the shorter request pays nothing for it. */
size_t resp_request_check_attributes(struct slice input, struct slice *ret_key);

/* Returns which of the two a request is that matched, by its first bytes: the number of arguments.
 */
static inline bool resp_request_asks_attributes(const char *request)
{
    return request[1] == '3';
}

#endif
