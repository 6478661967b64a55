/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/http_reply.h>

#include <time.h>

#include <http_parser.h>

static const char *phrase(int status)
{
    return http_status_str((enum http_status)status);
}

/* RFC 9110, section 5.6.7. */
static const char *date_line(struct http_date *date, int64_t wall_us)
{
    time_t second = (time_t)(wall_us / 1000000);
    struct tm tm;

    if (second == date->second)
        return date->line;
    gmtime_r(&second, &tm);
    strftime(date->line, sizeof date->line, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    date->second = second;
    return date->line;
}

void http_reply_begin(struct buffer *out, int status, struct http_date *date, int64_t wall_us,
                      unsigned flags)
{
    if (status == 200)
        buffer_text(out, "HTTP/1.1 200 OK\r\n");
    else
        buffer_printf(out, "HTTP/1.1 %d %s\r\n", status, phrase(status));
    buffer_text(out, date_line(date, wall_us));
    if (flags & HTTP_CLOSE)
        buffer_text(out, "Connection: close\r\n");
    else if (flags & HTTP_STAYS)
        buffer_text(out, "Connection: keep-alive\r\n");
}

void http_reply_end(struct buffer *out, unsigned flags, const char *type, struct slice body)
{
    if (body.len == 0) {
        buffer_text(out, "Content-Length: 0\r\n\r\n");
        return;
    }
    buffer_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, body.len);
    if (!(flags & HTTP_NO_BODY))
        buffer_append(out, body.at, body.len);
}

void http_reply_problem(struct buffer *out, int status, unsigned flags, const char *detail)
{
    http_reply_problem_of(out, status, flags, (struct http_problem){"about:blank", phrase(status)},
                          detail);
}

void http_reply_problem_of(struct buffer *out, int status, unsigned flags,
                           struct http_problem problem, const char *detail)
{
    struct buffer body = {0};

    buffer_printf(&body, "{\"type\":\"%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
                  problem.type, problem.title, status, detail);
    http_reply_end(out, flags, "application/problem+json", buffer_held(&body));
    buffer_free(&body);
}
