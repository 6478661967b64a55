/* SPDX-License-Identifier: MIT */
#include "http_head.h"

#include <errno.h>

#include <http_parser.h>

struct reader {
    const struct http_head_events *events;
    void *arg;
    bool complete;
};

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    reader->events->target(reader->arg, (struct slice){at, len});
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    return !reader->events->name(reader->arg, (struct slice){at, len});
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    return !reader->events->value(reader->arg, (struct slice){at, len});
}

/* The rest is the caller's: as if there were no body. */
static int on_headers_complete(http_parser *parser)
{
    (void)parser;
    return 1;
}

static int on_message_complete(http_parser *parser)
{
    struct reader *reader = parser->data;

    reader->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

/* http_parser as Debian builds it takes any byte behind a carriage return for the line feed. */
static bool lines_are_whole(struct slice head)
{
    const char *end = head.at + head.len;

    for (const char *at = head.at; (at = memchr(at, '\r', (size_t)(end - at))); at++) {
        if (at + 1 == end || at[1] != '\n')
            return false;
    }
    return true;
}

/* Returns the fault of a head that the library takes, or NULL. */
static const char *judge(const http_parser *parser, struct slice head)
{
    if (!lines_are_whole(head))
        return "a line ends in a carriage return without a line feed";
    /* Icecast uses SOURCE, with a protocol of its own. */
    if (parser->http_major != 1 || parser->method == HTTP_SOURCE)
        return "HTTP/1.0 or HTTP/1.1 is expected";
    return NULL;
}

int http_head_parse(struct slice input, const struct http_head_events *events, void *arg,
                    struct http_head *ret, const char **ret_why)
{
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_headers_complete = on_headers_complete,
        .on_message_complete = on_message_complete,
    };
    struct reader reader = {.events = events, .arg = arg};
    http_parser parser;

    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &reader;
    size_t len = http_parser_execute(&parser, &settings, input.at, input.len);
    if (!reader.complete && HTTP_PARSER_ERRNO(&parser) == HPE_OK)
        return -EAGAIN;
    if (reader.complete)
        *ret_why = judge(&parser, (struct slice){input.at, len});
    else
        *ret_why = http_errno_description(HTTP_PARSER_ERRNO(&parser));
    if (*ret_why)
        return -EBADMSG;
    *ret = (struct http_head){
        .minor = parser.http_minor,
        .head = parser.method == HTTP_HEAD,
        .post = parser.method == HTTP_POST,
        .options = parser.method == HTTP_OPTIONS,
        .coded = parser.uses_transfer_encoding,
        .keep_alive = http_should_keep_alive(&parser),
        .body_len = parser.content_length == UINT64_MAX ? 0 : parser.content_length,
        .len = len,
    };
    return 0;
}
