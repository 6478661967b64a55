/* SPDX-License-Identifier: MIT */
#include "apikeyd/http_reply.h"

#include <time.h>

#include <http_parser.h>

static const char *phrase(int status)
{
    return http_status_str((enum http_status)status);
}

/* RFC 9110, section 5.6.7. */
static void date(struct buffer *out, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    char text[40];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    buffer_append(out, text, strlen(text));
}

void http_reply_begin(struct buffer *out, int status, int64_t wall_us, unsigned flags)
{
    buffer_printf(out, "HTTP/1.1 %d %s\r\n", status, phrase(status));
    date(out, wall_us);
    if (flags & HTTP_CLOSE)
        buffer_printf(out, "Connection: close\r\n");
    else if (flags & HTTP_STAYS)
        buffer_printf(out, "Connection: keep-alive\r\n");
}

void http_reply_end(struct buffer *out, unsigned flags, const char *type, struct slice body)
{
    if (type)
        buffer_printf(out, "Content-Type: %s\r\n", type);
    buffer_printf(out, "Content-Length: %zu\r\n\r\n", body.len);
    if (!(flags & HTTP_NO_BODY))
        buffer_append(out, body.at, body.len);
}

void http_reply_problem(struct buffer *out, int status, unsigned flags, const char *detail)
{
    struct buffer body = {0};

    buffer_printf(&body,
                  "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
                  phrase(status), status, detail);
    http_reply_end(out, flags, "application/problem+json", buffer_held(&body));
    buffer_free(&body);
}
