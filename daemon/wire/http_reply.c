/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/http_reply.h>

#include <time.h>

/* RFC 9110, section 15; RFC 6585 has 431. */
static const char *phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Payload Too Large";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    default:
        return "";
    }
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

/* HTTP implementations trim blanks, and refuse or mangle controls and bytes that are not ASCII. */
static bool stands_in_value(struct slice text, size_t i)
{
    unsigned char byte = (unsigned char)text.at[i];

    if (byte == ' ')
        return i > 0 && i + 1 < text.len;
    return byte > ' ' && byte < 0x7f && byte != '%';
}

void http_reply_value(struct buffer *out, struct slice text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *start = buffer_reserve(out, 3 * text.len + 1), *at = start;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];

        if (stands_in_value(text, i)) {
            *at++ = text.at[i];
            continue;
        }
        *at++ = '%';
        *at++ = digits[byte >> 4];
        *at++ = digits[byte & 15];
    }
    out->len += (size_t)(at - start);
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
