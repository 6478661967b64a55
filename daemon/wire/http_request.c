/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/http_request.h>

#include <errno.h>

#include "http_head.h"

struct parse {
    struct http_request *request;
    const struct key_sources *sources;
    struct slice target, name, value; /* the field being read */
    unsigned hosts, codings;
    bool chunked, origin, asks_method;
    const char *wrong;
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

static void on_target(void *arg, struct slice target)
{
    struct parse *parse = arg;

    parse->target = target;
}

static bool on_name(void *arg, struct slice name)
{
    struct parse *parse = arg;

    end_field(parse);
    parse->name = name;
    /* RFC 9112, section 5.1. The parser refuses all other bytes that are not of a token. */
    if (memchr(name.at, ' ', name.len))
        parse->wrong = "the name of a field has a blank";
    return !parse->wrong;
}

static bool on_value(void *arg, struct slice value)
{
    struct parse *parse = arg;
    const char *name_end = parse->name.at + parse->name.len;

    if (parse->value.at || (value.len > 0 && memchr(name_end, '\n', (size_t)(value.at - name_end))))
        parse->wrong = "a field is folded over several lines";
    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    parse->value = value;
    return !parse->wrong;
}

static const char *find_any(const char *at, const char *end, const char *characters)
{
    while (at < end && !strchr(characters, *at))
        at++;
    return at;
}

/* RFC 9112, section 3.2: the path of a target, also of one in absolute form. "*" and the like have
 * none; no handler here serves these. */
static struct slice path_of(struct slice target)
{
    const char *at = target.at, *end = target.at + target.len;
    const char *host = memmem(target.at, target.len, "://", 3);

    if (host && *at != '/')
        at = find_any(host + 3, end, "/?#");
    if (at == end || *at != '/')
        return (struct slice){0};
    return (struct slice){at, (size_t)(find_any(at, end, "?#") - at)};
}

/* Returns the fault of a well-formed head, or NULL. */
static const char *judge(const struct http_head *head, const struct parse *parse)
{
    if (parse->hosts > 1 || (parse->hosts == 0 && head->minor > 0))
        return "one Host field is expected";
    /* RFC 9112, section 6.1. */
    if (parse->codings > 0 && head->minor == 0)
        return "HTTP/1.0 has no Transfer-Encoding";
    /* llhttp takes no notice of an empty one, nor of a length beside it. */
    if (parse->codings > 0 && !head->coded)
        return "Transfer-Encoding is empty";
    return NULL;
}

enum http_parsed http_request_parse(struct slice input, const struct key_sources *sources,
                                    struct http_request *ret, const char **ret_why)
{
    static const struct http_head_events events = {on_target, on_name, on_value};
    struct parse parse = {.request = ret, .sources = sources};
    struct http_head head = {0};

    *ret = (struct http_request){0};
    int error = http_head_parse(input, &events, &parse, &head, ret_why);
    if (error == -EAGAIN)
        return HTTP_INCOMPLETE;
    if (!error) {
        end_field(&parse);
        *ret_why = judge(&head, &parse);
    } else if (parse.wrong) {
        *ret_why = parse.wrong;
    }
    if (*ret_why)
        return HTTP_BROKEN;
    ret->head = head.head;
    ret->post = head.post;
    ret->preflight = head.options && parse.origin && parse.asks_method;
    ret->http_1_0 = head.minor == 0;
    ret->continues = ret->continues && !ret->http_1_0;
    ret->coded = head.coded || parse.codings > 0;
    ret->chunked = parse.chunked && parse.codings == 1;
    ret->body_len = head.body_len;
    ret->keep_alive = head.keep_alive;
    ret->path = path_of(parse.target);
    ret->head_len = head.len;
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
