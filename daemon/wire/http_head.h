/* http_head: how a library reads the head of an HTTP/1 request.
 *
 * Each library that can do it has a source of this interface, and CMake takes the one for which the
 * system has a library: http_head_llhttp.c or http_head_parser.c. Of a head that both take they
 * read the same key and the same length. What is wrong with one they may say in other words, or
 * notice earlier than http_request does. llhttp refuses more: a line that ends in a line feed
 * alone, which RFC 9112, section 2.2, allows; some bytes in the target; HTTP/1.2 and later. (Its
 * own leniency for line feeds takes a blank line behind the request line for the end of that line.)
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_HEAD_H
#define APIKEYD_HTTP_HEAD_H

#include <apikeyd/base/slice.h>

/* What stands in the head, in the order of its bytes, with the caller's `arg`. An empty value is
 * told, too. False ends the parsing, and the head is broken. */
struct http_head_events {
    void (*target)(void *arg, struct slice target);
    bool (*name)(void *arg, struct slice name);
    bool (*value)(void *arg, struct slice value);
};

struct http_head {
    unsigned minor;           /* of HTTP/1.x */
    bool head, post, options; /* the method */
    bool coded;               /* there is a Transfer-Encoding */
    bool keep_alive;          /* the client wants the connection to stay */
    uint64_t body_len;        /* 0 without Content-Length */
    size_t len;
};

/* Parse the head at the start of `input`. Returns 0 with *ret set; -EAGAIN: more bytes are needed;
 * or -EBADMSG with *ret_why set to text that lives forever, also where an event has ended the
 * parsing. */
__attribute__((warn_unused_result)) int http_head_parse(struct slice input,
                                                        const struct http_head_events *events,
                                                        void *arg, struct http_head *ret,
                                                        const char **ret_why);

#endif
