/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/http_request.h>

#include <http_parser.h>

struct parse {
    struct http_request *request;
    const struct key_sources *sources;
    struct slice target, name, value; /* the field being read */
    unsigned hosts, codings;
    bool chunked, origin, asks_method;
    const char *wrong;
    bool complete;
};

static void note_field(struct parse *parse, struct slice name, struct slice value)
{
    if (slice_is(name, "Host")) {
        parse->hosts++;
    } else if (slice_is(name, "Transfer-Encoding")) {
        parse->codings++;
        parse->chunked = slice_is(value, "chunked");
    } else if (slice_is(name, "Expect")) {
        parse->request->continues = slice_is(value, "100-continue");
    } else if (slice_is(name, "X-Forwarded-For")) {
        parse->request->forwarded = value;
    } else if (slice_is(name, "Origin")) {
        parse->origin = true;
    } else if (slice_is(name, "Access-Control-Request-Method")) {
        parse->asks_method = true;
    }
}

static void end_field(struct parse *parse)
{
    if (parse->name.at) {
        request_key_field(&parse->request->key, parse->sources, parse->name, parse->value);
        note_field(parse, parse->name, parse->value);
    }
    parse->name = parse->value = (struct slice){0};
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;

    parse->target = (struct slice){at, len};
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;

    end_field(parse);
    parse->name = (struct slice){at, len};
    /* RFC 9112, section 5.1. The parser refuses all other bytes that are not of a token. */
    if (memchr(at, ' ', len))
        parse->wrong = "the name of a field has a blank";
    return parse->wrong != NULL;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    const char *name_end = parse->name.at + parse->name.len;

    if (parse->value.at || (len > 0 && memchr(name_end, '\n', (size_t)(at - name_end))))
        parse->wrong = "a field is folded over several lines";
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    parse->value = (struct slice){at, len};
    return parse->wrong != NULL;
}

/* The rest is the caller's: as if there were no body. */
static int on_headers_complete(http_parser *parser)
{
    end_field(parser->data);
    return 1;
}

static int on_message_complete(http_parser *parser)
{
    struct parse *parse = parser->data;

    parse->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

/* RFC 9112, section 3.2: the path, also of a target in absolute form. */
static bool take_path(struct parse *parse)
{
    struct http_parser_url url;

    http_parser_url_init(&url);
    if (http_parser_parse_url(parse->target.at, parse->target.len, 0, &url) != 0 ||
        !(url.field_set & (1 << UF_PATH)))
        return false;
    parse->request->path =
        (struct slice){parse->target.at + url.field_data[UF_PATH].off, url.field_data[UF_PATH].len};
    return true;
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

/* Returns the fault of a well-formed head, or NULL. */
static const char *judge(const http_parser *parser, struct parse *parse)
{
    /* Icecast uses SOURCE, with a protocol of its own. */
    if (parser->http_major != 1 || parser->method == HTTP_SOURCE)
        return "HTTP/1.0 or HTTP/1.1 is expected";
    if (parse->hosts > 1 || (parse->hosts == 0 && parser->http_minor > 0))
        return "one Host field is expected";
    /* RFC 9112, section 6.1. */
    if (parse->codings > 0 && parser->http_minor == 0)
        return "HTTP/1.0 has no Transfer-Encoding";
    /* "*" and the like have no path; no handler here serves these. */
    (void)take_path(parse);
    return NULL;
}

enum http_parsed http_request_parse(struct slice input, const struct key_sources *sources,
                                    struct http_request *ret, const char **ret_why)
{
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_headers_complete = on_headers_complete,
        .on_message_complete = on_message_complete,
    };
    struct parse parse = {.request = ret, .sources = sources};
    http_parser parser;

    *ret = (struct http_request){0};
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &parse;
    ret->head_len = http_parser_execute(&parser, &settings, input.at, input.len);
    if (!parse.complete && HTTP_PARSER_ERRNO(&parser) == HPE_OK)
        return HTTP_INCOMPLETE;
    *ret_why = parse.wrong;
    if (!parse.complete && !parse.wrong)
        *ret_why = http_errno_description(HTTP_PARSER_ERRNO(&parser));
    if (parse.complete && !lines_are_whole((struct slice){input.at, ret->head_len}))
        *ret_why = "a line ends in a carriage return without a line feed";
    else if (parse.complete)
        *ret_why = judge(&parser, &parse);
    if (*ret_why)
        return HTTP_BROKEN;
    ret->head = parser.method == HTTP_HEAD;
    ret->post = parser.method == HTTP_POST;
    ret->preflight = parser.method == HTTP_OPTIONS && parse.origin && parse.asks_method;
    ret->http_1_0 = parser.http_minor == 0;
    ret->continues = ret->continues && !ret->http_1_0;
    ret->coded = parser.uses_transfer_encoding || parse.codings > 0;
    ret->chunked = parse.chunked && parse.codings == 1;
    ret->body_len = parser.content_length == UINT64_MAX ? 0 : parser.content_length;
    ret->keep_alive = http_should_keep_alive(&parser);
    request_key_target(&ret->key, sources, parse.target);
    return HTTP_COMPLETE;
}

bool http_request_blank_line(struct slice input, size_t from)
{
    size_t start = from > 3 ? from - 3 : 0;
    const char *at = input.at + start;
    const char *end = input.at + input.len;

    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if (at < end && *at == '\n')
            return true;
        if (at + 1 < end && at[0] == '\r' && at[1] == '\n')
            return true;
    }
    return false;
}
