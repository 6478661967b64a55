/* http_request: takes the head of an HTTP/1 request out of a byte stream (RFC 9112).
 *
 * The parser is strict where leniency allows two readings of a request: it refuses a length
 * together with a transfer coding, two lengths, folded lines, two Host fields or none. Like
 * resp_request it keeps no state and copies nothing; the caller makes sure that an incomplete head
 * is not parsed again and again.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_REQUEST_H
#define APIKEYD_HTTP_REQUEST_H

#include <apikeyd/wire/request_key.h>

struct http_request {
    bool head, post;   /* the method */
    bool preflight;    /* OPTIONS with Origin and Access-Control-Request-Method (Fetch Standard) */
    bool http_1_0;     /* the reply has to say that the connection stays */
    bool keep_alive;   /* the client wants the connection to stay */
    bool continues;    /* the client waits for 100 (Continue) before it sends the body */
    bool coded;        /* the request does not give the body's length… */
    bool chunked;      /* …as the body is chunked, and nothing else */
    struct slice path; /* without the query; into the parsed bytes */
    struct slice forwarded; /* X-Forwarded-For, the last one; into the parsed bytes */
    struct request_key key;
    size_t head_len;
    uint64_t body_len;
};

enum http_parsed {
    HTTP_COMPLETE,
    HTTP_INCOMPLETE, /* more bytes are needed */
    HTTP_BROKEN,     /* the rest of the stream cannot be parsed */
};

/* Parse the head at the start of `input`, and look for the key in `sources`. COMPLETE sets *ret,
 * BROKEN *ret_why to text that lives forever. The caller clears ret->key in any case. */
enum http_parsed http_request_parse(struct slice input, const struct key_sources *sources,
                                    struct http_request *ret, const char **ret_why);

/* Returns whether a blank line ends at or after `from`: without one a head is incomplete. */
bool http_request_blank_line(struct slice input, size_t from);

#endif
