/* http_reply: write HTTP/1.1 replies into a buffer (RFC 9110, RFC 9112). */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_REPLY_H
#define APIKEYD_HTTP_REPLY_H

#include <apikeyd/base/buffer.h>

enum {
    HTTP_NO_BODY = 1,     /* to HEAD: send the length, not the body */
    HTTP_CLOSE = 2,       /* the connection ends after this reply */
    HTTP_STAYS = 4,       /* say that the connection stays, to an HTTP/1.0 client */
    HTTP_REPLY_FLAGS = 3, /* bits taken */
};

/* A Date field, rewritten when the second has changed. Zero at first. */
struct http_date {
    int64_t second; /* since 1970 */
    char line[40];
};

/* The status line and the fields that every reply has; other fields follow. `wall_us` is the time,
 * µs since 1970. */
void http_reply_begin(struct buffer *out, int status, struct http_date *date, int64_t wall_us,
                      unsigned flags);

/* Append text as a field's value can hold it (RFC 9110, section 5.5), in printable ASCII with
 * single bytes percent-encoded (RFC 3986, section 2.1): all others, a blank at either end, and "%"
 * itself. So decoding yields any text again. */
void http_reply_value(struct buffer *out, struct slice text);

/* The end of the head, and the body. `type` may be NULL when there is none. */
void http_reply_end(struct buffer *out, unsigned flags, const char *type, struct slice body);

/* The end of the head, and a problem (RFC 9457) as the body: `detail` is for people, without quotes
 * or backslashes. */
void http_reply_problem(struct buffer *out, int status, unsigned flags, const char *detail);

/* The same for a problem that has a type of its own; both members live forever. */
struct http_problem {
    const char *type, *title;
};
void http_reply_problem_of(struct buffer *out, int status, unsigned flags,
                           struct http_problem problem, const char *detail);

#endif
