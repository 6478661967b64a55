/* SPDX-License-Identifier: MIT */
#include "http_head.h"

#include <errno.h>

#include <llhttp.h>

struct reader {
    const struct http_head_events *events;
    void *arg;
    bool complete;
};

static const char no_http_1[] = "HTTP/1.0 or HTTP/1.1 is expected";

/* End the parsing. The library has no reason of its own for that. */
static int refuse(llhttp_t *parser, const char *why)
{
    llhttp_set_error_reason(parser, why);
    return HPE_USER;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    reader->events->target(reader->arg, (struct slice){at, len});
    return HPE_OK;
}

/* The library takes RTSP and Icecast's protocol for HTTP, with the same versions. `at` is behind
 * the protocol's name. */
static int on_version(llhttp_t *parser, const char *at, size_t len)
{
    static const char http[] = {'H', 'T', 'T', 'P', '/'};

    (void)len;
    return memcmp(at - sizeof http, http, sizeof http) == 0 ? HPE_OK : refuse(parser, no_http_1);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    if (!reader->events->name(reader->arg, (struct slice){at, len}))
        return refuse(parser, "the name of a field is refused");
    return HPE_OK;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;

    if (!reader->events->value(reader->arg, (struct slice){at, len}))
        return refuse(parser, "the value of a field is refused");
    return HPE_OK;
}

/* The rest is the caller's: as if there were no body. */
static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return 1;
}

static int on_message_complete(llhttp_t *parser)
{
    struct reader *reader = parser->data;

    reader->complete = true;
    return HPE_PAUSED;
}

int http_head_parse(struct slice input, const struct http_head_events *events, void *arg,
                    struct http_head *ret, const char **ret_why)
{
    struct reader reader = {.events = events, .arg = arg};
    llhttp_settings_t settings;
    llhttp_t parser;

    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_version = on_version;
    settings.on_header_field = on_header_field;
    settings.on_header_value = on_header_value;
    settings.on_headers_complete = on_headers_complete;
    settings.on_message_complete = on_message_complete;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &reader;
    llhttp_errno_t error = llhttp_execute(&parser, input.at, input.len);
    if (error == HPE_OK)
        return -EAGAIN;
    *ret_why = NULL;
    if (!reader.complete)
        *ret_why = llhttp_get_error_reason(&parser);
    /* Icecast uses SOURCE, with a protocol of its own. */
    else if (parser.http_major != 1 || parser.http_minor > 9 || parser.method == HTTP_SOURCE)
        *ret_why = no_http_1;
    if (*ret_why)
        return -EBADMSG;
    *ret = (struct http_head){
        .minor = parser.http_minor,
        .head = parser.method == HTTP_HEAD,
        .post = parser.method == HTTP_POST,
        .options = parser.method == HTTP_OPTIONS,
        .coded = parser.flags & F_TRANSFER_ENCODING,
        .keep_alive = llhttp_should_keep_alive(&parser),
        .body_len = parser.content_length,
        .len = (size_t)(llhttp_get_error_pos(&parser) - input.at),
    };
    return 0;
}
