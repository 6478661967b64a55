/* resp_request: take Redis requests out of a byte stream.
 *
 * RESP2 arrays of bulk strings and inline commands, as the Redis protocol specification
 * describes them. The parser keeps no state and copies nothing: a request that is not complete
 * yet is parsed again when more has come, which the limit on its size keeps cheap.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESP_REQUEST_H
#define APIKEYD_RESP_REQUEST_H

#include <apikeyd/base/slice.h>

enum { RESP_ARGS_MAX = 32 };

struct resp_request {
    size_t argc;                      /* 0: an empty line or array, to be passed over */
    struct slice argv[RESP_ARGS_MAX]; /* into the bytes that were parsed */
};

enum resp_status {
    RESP_COMPLETE,
    RESP_INCOMPLETE, /* more bytes are needed */
    RESP_BROKEN,     /* the stream cannot be followed any further */
};

/* Parse one request at the start of `input`. COMPLETE sets *ret and *ret_consumed, BROKEN sets
 * *ret_why to text that lives forever. `max_request` bounds a request's bytes. */
enum resp_status resp_request_parse(struct slice input, size_t max_request,
                                    struct resp_request *ret, size_t *ret_consumed,
                                    const char **ret_why);

/* "CHECK <key>", the commonest request, as client libraries send it: how many bytes it takes, with
 * the key (1 to 255 bytes) in *ret_key. 0 when it is another one, or not all there: parse it. */
size_t resp_request_check(struct slice input, struct slice *ret_key);

#endif
