/* SPDX-License-Identifier: MIT */
#include <apikeyd/face/http.h>

#include <inttypes.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/http_chunked.h>
#include <apikeyd/wire/http_reply.h>
#include <apikeyd/wire/http_request.h>

#include "http_aws.h"

enum {
    HEAD_MAX = 64 * 1024, /* gateways pass on all fields of the request that they ask about */
    BODY_MAX = 64 * 1024,
    CHUNKED_MAX = 2 * BODY_MAX, /* with the sizes of the chunks */
    /* Long requests cost more of the quantum (quantum.h): the longest event all of it, since its
     * JSON may take milliseconds. */
    BYTES_OF_ONE_HIT = 1024,
};

struct http_state {
    size_t scanned; /* bytes of a head that is not complete; they have no blank line */
    /* A chunked event that is not complete; its head is not parsed again. */
    size_t chunked_head; /* bytes; 0: there is none */
    unsigned chunked_flags;
    struct http_chunked chunked;
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

/* Count the request as refused, and say why. */
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

    if (answer->tier == TIER_NONE && answer->verdict->kind == VERDICT_DENY_UNKNOWN)
        buffer_text(out, "Cache-Status: apikeyd; detail=malformed\r\n");
    else if (answer->tier == TIER_NONE)
        buffer_text(out, "Cache-Status: apikeyd; fwd=miss; detail=unavailable\r\n");
    else
        write_number(out, from[answer->tier], answer->left_us / 1000000);
}

/* The fields that the answer depends on, each once. */
static void write_vary(const struct front *front, struct buffer *out)
{
    const struct key_sources *sources = &front->config->http_key_from;
    const char *before = "Vary: ";

    for (size_t i = 0; i < sources->len; i++) {
        const char *field = key_source_field(&sources->source[i]);
        bool again = false;

        for (size_t k = 0; field && k < i && !again; k++) {
            const char *other = key_source_field(&sources->source[k]);

            again = other && strcasecmp(other, field) == 0;
        }
        if (!field || again)
            continue;
        buffer_text(out, before);
        buffer_text(out, field);
        before = ", ";
    }
    if (before[0] == ',')
        buffer_text(out, "\r\n");
}

static bool takes(const struct front *front, enum key_source_kind kind)
{
    const struct key_sources *sources = &front->config->http_key_from;

    for (size_t i = 0; i < sources->len; i++) {
        if (sources->source[i].kind == kind)
            return true;
    }
    return false;
}

/* RFC 9110, section 11.6.1: schemes that a client may use. */
static void write_challenge(const struct front *front, struct buffer *out)
{
    buffer_text(out, "WWW-Authenticate: ApiKey realm=\"api\"");
    if (takes(front, KEY_IN_BEARER))
        buffer_text(out, ", Bearer realm=\"api\"");
    if (takes(front, KEY_IN_BASIC_USER))
        buffer_text(out, ", Basic realm=\"api\"");
    buffer_text(out, "\r\n");
}

/* Each attribute that keys may have has its field, empty if this key has none: a gateway that
 * copies fields from the answer then puts it in the place of a client's own. */
static void write_attributes(const struct front *front, struct buffer *out, struct attributes rest)
{
    const struct attribute_columns *columns = &front->config->postgres_attribute_columns;
    struct attribute next;
    bool more = attributes_take(&rest, &next);

    for (unsigned i = 0; i < columns->len; i++) {
        buffer_text(out, "X-Api-Key-");
        buffer_text(out, columns->column[i].field);
        buffer_text(out, ": ");
        if (more && next.column == i) {
            http_reply_value(out, next.value);
            more = attributes_take(&rest, &next);
        }
        buffer_text(out, "\r\n");
    }
}

static void write_allow(struct front *front, struct buffer *out, const struct answer *answer,
                        unsigned flags)
{
    int64_t left_us = answer->left_us > 0 ? answer->left_us : 0;

    http_reply_begin(out, 200, &front->date, front->wall_us, flags);
    write_id(out, "X-Api-Key-Id: ", &answer->verdict->api_key_id, answer->verdict->id_type);
    write_id(out, "X-User-Id: ", &answer->verdict->user_id, answer->verdict->id_type);
    write_attributes(front, out, answer->verdict->attributes);
    write_vary(front, out);
    write_number(out, "Cache-Control: max-age=", left_us / 1000000);
    write_cache_status(out, answer);
    http_reply_end(out, flags, NULL, (struct slice){"", 0});
}

/* UNAVAILABLE differs from the refusals by its status, so a gateway can distinguish it. */
static void write_refusal(struct front *front, struct buffer *out, const struct answer *answer,
                          unsigned flags)
{
    static const struct {
        int status;
        const char *detail;
        struct http_problem problem; /* zeros: known by its status */
    } refusal[] = {
        [VERDICT_DENY_UNKNOWN] = {.status = 401, .detail = "the key is unknown"},
        [VERDICT_DENY_INACTIVE] = {.status = 403, .detail = "the key is inactive"},
        [VERDICT_DENY_EXPIRED] = {403,
                                  "the key has expired",
                                  {"urn:apikeyd:key-expired", "Key expired"}},
        [VERDICT_DENY_EARLY] = {403,
                                "the key is not valid yet",
                                {"urn:apikeyd:key-early", "Key not valid yet"}},
        [VERDICT_UNAVAILABLE] = {.status = 503},
    };
    enum verdict_kind kind = answer->verdict->kind;
    int status = refusal[kind].status;
    const char *detail = refusal[kind].detail;

    if (status == 403 && front->config->http_inactive_status == HTTP_INACTIVE_401)
        status = 401;
    http_reply_begin(out, status, &front->date, front->wall_us, flags);
    buffer_text(out, "Cache-Control: no-store\r\n");
    if (status == 401)
        write_challenge(front, out);
    if (status == 503)
        buffer_text(out, "Retry-After: 1\r\n");
    write_cache_status(out, answer);
    if (refusal[kind].problem.type)
        http_reply_problem_of(out, status, flags, refusal[kind].problem, detail);
    else
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

/* A browser asks, without a key, whether it may send one (Fetch Standard). No key is known, which
 * the application has to see even if the client sent an ID and the gateway does not remove it. */
static void pass_preflight(struct front *front, struct connection *connection, unsigned flags)
{
    struct buffer *out = connection_reply(connection);

    front->metrics.value[METRIC_HTTP_PREFLIGHTS]++;
    http_reply_begin(out, 200, &front->date, front->wall_us, flags);
    buffer_text(out, "X-Api-Key-Id: \r\nX-User-Id: \r\n");
    write_attributes(front, out, (struct attributes){0});
    buffer_text(out, "Cache-Control: no-store\r\n");
    http_reply_end(out, flags, NULL, (struct slice){"", 0});
}

static void refuse_key(struct front *front, struct connection *connection, unsigned flags,
                       const char *detail)
{
    struct buffer *out = connection_reply(connection);

    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    http_reply_begin(out, 401, &front->date, front->wall_us, flags);
    buffer_text(out, "Cache-Control: no-store\r\n");
    write_challenge(front, out);
    http_reply_problem(out, 401, flags, detail);
}

/* Any method is accepted. A body is not needed and not waited for. */
static void authorize(struct front *front, struct connection *connection,
                      const struct http_request *request, unsigned flags)
{
    const struct request_key *key = &request->key;
    struct check check = {.connection = connection,
                          .key = key->key,
                          .forwarded = request->forwarded,
                          .encoder = {
                              .write = write_answer,
                              .flags = flags,
                              .attributes = true,
                          }};
    const char *wrong = "there is no key";

    connection->last_command = "authorize";
    if (key->wrong) {
        refuse(front, connection, 400, flags, "", key->wrong);
        return;
    }
    if (!key->found && request->preflight &&
        front->config->http_preflight == HTTP_PREFLIGHT_ALLOW) {
        pass_preflight(front, connection, flags);
        return;
    }
    if (key->found)
        wrong = check_key(front, &check);
    if (wrong)
        refuse_key(front, connection, flags, wrong);
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

static size_t answer_event(struct front *front, struct connection *connection, struct slice event,
                           unsigned flags, size_t len)
{
    connection->last_command = "aws/authorizer";
    const char *wrong = http_aws_authorizer(front, connection, event, flags);

    if (wrong)
        refuse(front, connection, 400, flags, "", wrong);
    if (flags & HTTP_CLOSE)
        connection_finish(connection);
    return len;
}

/* More of a body has to come, `wanted` bytes with the head. A client that waits to be told is told
 * once: the request's head is not parsed again before that many bytes are there. */
static size_t wait_for_body(struct connection *connection, bool continues, size_t wanted)
{
    if (continues)
        buffer_text(connection_reply(connection), "HTTP/1.1 100 Continue\r\n\r\n");
    connection->wanted = wanted - 1;
    return 0;
}

/* Go on with the event whose head is in `state`. */
static size_t chunked_event(struct front *front, struct connection *connection, struct slice bytes,
                            bool continues)
{
    struct http_state *state = connection->state;
    size_t head_len = state->chunked_head;
    struct slice body = {bytes.at + head_len, bytes.len - head_len};
    struct buffer event = {0};
    const char *why;

    enum http_parsed parsed = http_chunked_scan(&state->chunked, body, &why);
    if (parsed == HTTP_BROKEN) {
        front->metrics.value[METRIC_PROTOCOL_ERRORS]++;
        return give_up(front, connection, bytes, 400, why);
    }
    if (state->chunked.data + state->chunked.due > BODY_MAX || state->chunked.wanted > CHUNKED_MAX)
        return give_up(front, connection, bytes, 413,
                       "the event is larger than 64 KiB, or 128 KiB with the sizes of its chunks");
    if (parsed == HTTP_INCOMPLETE)
        return wait_for_body(connection, continues, head_len + state->chunked.wanted);
    http_chunked_data((struct slice){body.at, state->chunked.at}, &event);
    size_t taken = answer_event(front, connection, buffer_held(&event), state->chunked_flags,
                                head_len + state->chunked.at);
    if (event.data)
        explicit_bzero(event.data, event.cap);
    buffer_free(&event);
    return taken;
}

/* The event must have arrived whole. 0: more of it has to come. */
static size_t aws_authorizer(struct front *front, struct connection *connection, struct slice bytes,
                             const struct http_request *request, unsigned flags)
{
    struct http_state *state = connection->state;
    size_t len = request->head_len + (size_t)request->body_len;

    if (request->coded && !request->chunked)
        return give_up(front, connection, bytes, 501,
                       "chunked is the only Transfer-Encoding that is known");
    if (request->chunked) {
        state->chunked_head = request->head_len;
        state->chunked_flags = flags;
        return chunked_event(front, connection, bytes, request->continues);
    }
    if (request->body_len > BODY_MAX)
        return give_up(front, connection, bytes, 413, "the event is larger than 64 KiB");
    if (bytes.len < len)
        return wait_for_body(connection, request->continues, len);
    return answer_event(front, connection,
                        (struct slice){bytes.at + request->head_len, (size_t)request->body_len},
                        flags, len);
}

/* The answer does not need the body: a body that has arrived is skipped, otherwise the connection
 * ends after the reply. */
static size_t answer_without_body(struct front *front, struct connection *connection,
                                  struct slice bytes, const struct http_request *request,
                                  unsigned flags)
{
    size_t rest = bytes.len - request->head_len;
    bool all = !request->coded && request->body_len <= rest;

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
    return aws_authorizer(front, connection, bytes, request, flags);
}

/* RFC 9112, section 2.2: empty lines before a request are passed over. */
static size_t empty_lines(struct slice bytes)
{
    size_t len = 0;

    while (len < bytes.len && (bytes.at[len] == '\r' || bytes.at[len] == '\n'))
        len++;
    return len;
}

/* The head is not complete: its blank line has not come yet. */
static size_t wait_for_more(struct front *front, struct connection *connection, struct slice bytes)
{
    struct http_state *state = connection->state;

    state->scanned = bytes.len;
    if (bytes.len < HEAD_MAX)
        return 0;
    return give_up(front, connection, bytes, 431, "the head is larger than 64 KiB");
}

/* A request was taken if `taken` is not 0. */
static size_t count_request(struct front *front, struct connection *connection, size_t taken)
{
    connection->requests += taken > 0;
    front->metrics.value[METRIC_HTTP_REQUESTS] += taken > 0;
    return taken;
}

/* A request whose head may not have come whole. */
static size_t parse_request(struct front *front, struct connection *connection, struct slice bytes,
                            struct http_request *request)
{
    const char *why;

    switch (http_request_parse(bytes, &front->config->http_key_from, request, &why)) {
    case HTTP_INCOMPLETE:
        return wait_for_more(front, connection, bytes);
    case HTTP_BROKEN:
        front->metrics.value[METRIC_PROTOCOL_ERRORS]++;
        return give_up(front, connection, bytes, 400, why);
    case HTTP_COMPLETE:
        break;
    }
    if (request->head_len > HEAD_MAX)
        return give_up(front, connection, bytes, 431, "the head is larger than 64 KiB");
    return count_request(front, connection, answer_request(front, connection, bytes, request));
}

static size_t take_request(struct front *front, struct connection *connection, struct slice bytes)
{
    const struct http_state *state = connection->state;
    struct http_request request;
    size_t taken = empty_lines(bytes);

    if (state->chunked_head > 0)
        return count_request(front, connection, chunked_event(front, connection, bytes, false));
    if (taken > 0)
        return taken;
    if (state->scanned > 0 && !http_request_blank_line(bytes, state->scanned))
        return wait_for_more(front, connection, bytes);
    taken = parse_request(front, connection, bytes, &request);
    request_key_clear(&request.key);
    return taken;
}

static size_t handle_http(void *arg, struct connection *connection, struct slice bytes)
{
    size_t taken = take_request(arg, connection, bytes);

    if (taken > 0) {
        *(struct http_state *)connection->state = (struct http_state){0};
        quantum_spend(&connection->clients->quantum, (int)(taken / BYTES_OF_ONE_HIT));
    }
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
