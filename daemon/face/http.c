/* SPDX-License-Identifier: MIT */
#include <apikeyd/face/http.h>

#include <inttypes.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/http_reply.h>
#include <apikeyd/wire/http_request.h>

#include "http_aws.h"

enum {
    HEAD_MAX = 64 * 1024, /* gateways pass on all fields of the request that they ask about */
    BODY_MAX = 64 * 1024,
};

struct http_state {
    size_t scanned; /* bytes of a head that is not complete; they have no blank line */
};

/* Reply with a problem. Field lines in `fields` go along. */
static void reply_problem(struct front *front, struct connection *connection, int status,
                          unsigned flags, const char *fields, const char *detail)
{
    struct buffer *out = connection_reply(connection);

    http_reply_begin(out, status, &front->date, front->wall_us, flags);
    buffer_printf(out, "Cache-Control: no-store\r\n%s", fields);
    http_reply_problem(out, status, flags, detail);
}

/* The request is none that could be answered: say so, and count it. */
static void refuse(struct front *front, struct connection *connection, int status, unsigned flags,
                   const char *fields, const char *detail)
{
    front->metrics.value[METRIC_HTTP_REFUSED]++;
    reply_problem(front, connection, status, flags, fields, detail);
}

static void write_id(struct buffer *out, const char *field, const struct row_id *id,
                     enum id_type type)
{
    buffer_text(out, field);
    out->len += row_id_to_text(id, type, buffer_reserve(out, ID_TEXT_MAX));
    buffer_text(out, "\r\n");
}

static void write_number(struct buffer *out, const char *field, int64_t number)
{
    buffer_text(out, field);
    buffer_printf(out, "%" PRId64 "\r\n", number);
}

/* RFC 9211. */
static void write_cache_status(struct buffer *out, const struct answer *answer)
{
    static const char *const from[] = {
        [TIER_MEMORY] = "Cache-Status: apikeyd; hit; detail=memory; ttl=",
        [TIER_REDIS] = "Cache-Status: apikeyd; hit; detail=redis; ttl=",
        [TIER_POSTGRES] = "Cache-Status: apikeyd; fwd=miss; detail=postgres; ttl=",
        [TIER_STALE] = "Cache-Status: apikeyd; hit; detail=stale; ttl=",
    };

    if (answer->tier == TIER_NONE)
        buffer_text(out, "Cache-Status: apikeyd; fwd=miss; detail=unavailable\r\n");
    else
        write_number(out, from[answer->tier], answer->left_us / 1000000);
}

static void write_allow(struct front *front, struct buffer *out, const struct answer *answer,
                        unsigned flags)
{
    int64_t left_us = answer->left_us > 0 ? answer->left_us : 0;

    http_reply_begin(out, 200, &front->date, front->wall_us, flags);
    write_id(out, "X-Api-Key-Id: ", &answer->verdict->api_key_id, answer->verdict->id_type);
    write_id(out, "X-User-Id: ", &answer->verdict->user_id, answer->verdict->id_type);
    buffer_text(out, "Vary: ");
    buffer_text(out, front->config->http_key_header);
    write_number(out, "\r\nCache-Control: max-age=", left_us / 1000000);
    write_cache_status(out, answer);
    http_reply_end(out, flags, NULL, (struct slice){"", 0});
}

/* UNAVAILABLE differs from the two refusals by its status, so a gateway can distinguish it. */
static void write_refusal(struct front *front, struct buffer *out, const struct answer *answer,
                          unsigned flags)
{
    static const struct {
        int status;
        const char *field, *detail;
    } refusal[] = {
        [VERDICT_DENY_UNKNOWN] = {401, "WWW-Authenticate: ApiKey realm=\"api\"\r\n",
                                  "the key is unknown"},
        [VERDICT_DENY_INACTIVE] = {403, "", "the key is inactive"},
        [VERDICT_UNAVAILABLE] = {503, "Retry-After: 1\r\n", NULL},
    };
    enum verdict_kind kind = answer->verdict->kind;
    int status = refusal[kind].status;
    const char *detail = refusal[kind].detail;

    http_reply_begin(out, status, &front->date, front->wall_us, flags);
    buffer_printf(out, "Cache-Control: no-store\r\n%s", refusal[kind].field);
    write_cache_status(out, answer);
    http_reply_problem(out, status, flags, detail ? detail : answer->why);
}

static void write_answer(struct front *front, struct buffer *out, const struct answer *answer,
                         const struct reply_encoder *encoder)
{
    if (answer->verdict->kind == VERDICT_ALLOW)
        write_allow(front, out, answer, encoder->flags);
    else
        write_refusal(front, out, answer, encoder->flags);
}

/* Any method, and no body is needed: if one comes, it is not waited for. */
static void authorize(struct front *front, struct connection *connection,
                      const struct http_request *request, unsigned flags)
{
    static const char unauthorized[] = "WWW-Authenticate: ApiKey realm=\"api\"\r\n";
    struct check check = {.connection = connection,
                          .key = request->key,
                          .encoder = {.write = write_answer, .flags = flags}};
    const char *wrong = "there is no key";

    connection->last_command = "authorize";
    if (request->keys > 1) {
        refuse(front, connection, 400, flags, "", "there is more than one key");
        return;
    }
    if (request->keys == 1)
        wrong = check_key(front, &check);
    if (!wrong)
        return;
    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    reply_problem(front, connection, 401, flags, unauthorized, wrong);
}

static bool path_is(const struct http_request *request, const char *path)
{
    return request->path.len == strlen(path) &&
           memcmp(request->path.at, path, request->path.len) == 0;
}

/* /authorize, or anything below it: some gateways append the path that they ask about. */
static bool is_authorize(const struct http_request *request)
{
    static const char prefix[] = "/authorize/";

    return path_is(request, "/authorize") ||
           (request->path.len >= sizeof prefix - 1 &&
            memcmp(request->path.at, prefix, sizeof prefix - 1) == 0);
}

/* The stream cannot be followed any further: reply, and take nothing more. */
static size_t give_up(struct front *front, struct connection *connection, struct slice bytes,
                      int status, const char *detail)
{
    refuse(front, connection, status, HTTP_CLOSE, "", detail);
    connection_finish(connection);
    return bytes.len;
}

/* An event is needed whole. 0: more of it has to come. */
static size_t aws_authorizer(struct front *front, struct connection *connection, struct slice bytes,
                             const struct http_request *request, unsigned flags)
{
    size_t len = request->head_len + (size_t)request->body_len;
    const char *wrong;

    if (request->chunked)
        return give_up(front, connection, bytes, 411, "a Content-Length is expected");
    if (request->body_len > BODY_MAX)
        return give_up(front, connection, bytes, 413, "the event is larger than 64 KiB");
    if (bytes.len < len) {
        connection->wanted = len - 1;
        return 0;
    }
    connection->last_command = "aws/authorizer";
    wrong = http_aws_authorizer(
        front, connection, (struct slice){bytes.at + request->head_len, (size_t)request->body_len},
        flags);
    if (wrong)
        refuse(front, connection, 400, flags, "", wrong);
    return len;
}

/* The answer does not need the body: a body that has arrived is skipped, otherwise the connection
 * ends after the reply. */
static size_t answer_without_body(struct front *front, struct connection *connection,
                                  struct slice bytes, const struct http_request *request,
                                  unsigned flags)
{
    size_t rest = bytes.len - request->head_len;
    bool all = !request->chunked && request->body_len <= rest;

    if (!all)
        flags = (flags & ~(unsigned)HTTP_STAYS) | HTTP_CLOSE;
    if (is_authorize(request))
        authorize(front, connection, request, flags);
    else if (path_is(request, "/aws/authorizer"))
        refuse(front, connection, 405, flags, "Allow: POST\r\n", "POST an event");
    else
        refuse(front, connection, 404, flags, "", "/authorize is here, and /aws/authorizer");
    if (flags & HTTP_CLOSE)
        connection_finish(connection);
    return all ? request->head_len + (size_t)request->body_len : bytes.len;
}

static size_t answer_request(struct front *front, struct connection *connection, struct slice bytes,
                             const struct http_request *request)
{
    unsigned flags = 0;

    if (request->head)
        flags |= HTTP_NO_BODY;
    if (!request->keep_alive)
        flags |= HTTP_CLOSE;
    else if (request->http_1_0)
        flags |= HTTP_STAYS;
    if (!request->post || !path_is(request, "/aws/authorizer"))
        return answer_without_body(front, connection, bytes, request, flags);
    size_t taken = aws_authorizer(front, connection, bytes, request, flags);
    if (taken > 0 && (flags & HTTP_CLOSE))
        connection_finish(connection);
    return taken;
}

/* RFC 9112, section 2.2: empty lines before a request are passed over. */
static size_t empty_lines(struct slice bytes)
{
    size_t len = 0;

    while (len < bytes.len && (bytes.at[len] == '\r' || bytes.at[len] == '\n'))
        len++;
    return len;
}

/* The head is not complete, which takes a blank line to come. */
static size_t wait_for_more(struct front *front, struct connection *connection, struct slice bytes)
{
    struct http_state *state = connection->state;

    state->scanned = bytes.len;
    if (bytes.len < HEAD_MAX)
        return 0;
    return give_up(front, connection, bytes, 431, "the head is larger than 64 KiB");
}

static size_t take_request(struct front *front, struct connection *connection, struct slice bytes)
{
    const struct http_state *state = connection->state;
    struct http_request request;
    const char *why;
    size_t taken = empty_lines(bytes);

    if (taken > 0)
        return taken;
    if (state->scanned > 0 && !http_request_blank_line(bytes, state->scanned))
        return wait_for_more(front, connection, bytes);
    switch (http_request_parse(bytes, front->config->http_key_header, &request, &why)) {
    case HTTP_INCOMPLETE:
        return wait_for_more(front, connection, bytes);
    case HTTP_BROKEN:
        front->metrics.value[METRIC_PROTOCOL_ERRORS]++;
        return give_up(front, connection, bytes, 400, why);
    case HTTP_COMPLETE:
        break;
    }
    if (request.head_len > HEAD_MAX)
        return give_up(front, connection, bytes, 431, "the head is larger than 64 KiB");
    taken = answer_request(front, connection, bytes, &request);
    if (taken > 0) {
        connection->requests++;
        front->metrics.value[METRIC_HTTP_REQUESTS]++;
    }
    return taken;
}

static size_t handle_http(void *arg, struct connection *connection, struct slice bytes)
{
    struct http_state *state = connection->state;
    size_t taken = take_request(arg, connection, bytes);

    if (taken > 0)
        state->scanned = 0;
    return taken;
}

const struct protocol http_protocol = {
    .name = "http",
    .handle = handle_http,
    /* Not 403, the status for an inactive key: this gateway gets no answer about keys. */
    .forbidden = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                 "Cache-Control: no-store\r\nContent-Type: text/plain\r\nContent-Length: 67\r\n\r\n"
                 "listen.allow_uids and allow_gids do not let this process connect.\r\n",
    .full = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
            "Content-Length: 0\r\n\r\n",
    .small_request = 16384, /* heads are long where there are cookies */
    .timed = true,
    .state_size = sizeof(struct http_state),
};
