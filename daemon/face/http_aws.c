/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/aws_event.h>
#include <apikeyd/wire/http_reply.h>

#include "http_aws.h"

/* An encoder's text is the event's resource and, behind its end, the event's key: for policies of
 * which usageIdentifierKey is the key. */
static const char *usage_key(const struct front *front, const struct reply_encoder *encoder,
                             const struct verdict *verdict, char id[static ID_TEXT_MAX + 1])
{
    switch (front->config->aws_usage_identifier_key) {
    case AWS_USAGE_KEY_KEY:
        return encoder->text ? encoder->text + strlen(encoder->text) + 1 : NULL;
    case AWS_USAGE_KEY_API_KEY_ID:
        id[row_id_to_text(&verdict->api_key_id, verdict->id_type, id)] = '\0';
        return id;
    case AWS_USAGE_KEY_USER_ID:
        id[row_id_to_text(&verdict->user_id, verdict->id_type, id)] = '\0';
        return id;
    default:
        return NULL;
    }
}

/* NULL for an event without a resource. */
static char *make_text(const struct aws_event *event, size_t *ret_len)
{
    struct buffer text = {0};

    if (!event->resource)
        return NULL;
    size_t key_len = event->key ? strlen(event->key) : 0;
    buffer_reserve(&text, strlen(event->resource) + 1 + key_len + 1); /* no copy is left behind */
    buffer_append(&text, event->resource, strlen(event->resource) + 1);
    buffer_append(&text, event->key ? event->key : "", key_len + 1);
    *ret_len = text.len;
    return text.data;
}

/* Takes the bytes of *body. */
static void reply(struct front *front, struct buffer *out, const struct reply_encoder *encoder,
                  struct buffer *body)
{
    http_reply_begin(out, 200, &front->date, front->wall_us, encoder->flags);
    buffer_printf(out, "Cache-Control: no-store\r\n");
    http_reply_end(out, encoder->flags, "application/json", buffer_held(body));
    buffer_free(body);
}

static void deny(struct front *front, struct buffer *out, const struct reply_encoder *encoder,
                 const char *why)
{
    struct buffer body = {0};

    aws_event_deny(&body, encoder->text, why);
    reply(front, out, encoder, &body);
}

static void write_answer(struct front *front, struct buffer *out, const struct answer *answer,
                         const struct reply_encoder *encoder)
{
    struct buffer body = {0};
    char id[ID_TEXT_MAX + 1];

    switch (answer->verdict->kind) {
    case VERDICT_ALLOW:
        aws_event_allow(&body, encoder->text, answer->verdict,
                        &front->config->postgres_attribute_columns,
                        usage_key(front, encoder, answer->verdict, id));
        reply(front, out, encoder, &body);
        break;
    case VERDICT_DENY_UNKNOWN:
        deny(front, out, encoder, "unknown");
        break;
    case VERDICT_DENY_INACTIVE:
        deny(front, out, encoder, "inactive");
        break;
    case VERDICT_DENY_EXPIRED:
        deny(front, out, encoder, "expired");
        break;
    case VERDICT_DENY_EARLY:
        deny(front, out, encoder, "early");
        break;
    case VERDICT_UNAVAILABLE:
        http_reply_begin(out, 503, &front->date, front->wall_us, encoder->flags);
        buffer_printf(out, "Cache-Control: no-store\r\nRetry-After: 1\r\n");
        http_reply_problem(out, 503, encoder->flags, answer->why);
        break;
    }
}

/* Check the event's key. Deny if the event has no valid key. The answer names the event's resource,
 * which is kept with the check. */
static void check_event(struct front *front, struct connection *connection,
                        const struct aws_event *event, unsigned flags)
{
    struct check check = {
        .connection = connection,
        .key = {event->key, event->key ? strlen(event->key) : 0},
        .encoder = {.write = write_answer, .flags = flags, .attributes = true},
    };

    check.encoder.text = make_text(event, &check.encoder.text_len);
    if (event->key && !check_key(front, &check))
        return;
    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    deny(front, connection_reply(connection), &check.encoder, event->key ? "malformed" : "missing");
    reply_encoder_clear(&check.encoder);
}

const char *http_aws_authorizer(struct front *front, struct connection *connection,
                                struct slice event, unsigned flags)
{
    const struct aws_key_from from = {&front->config->aws_key_from, &front->config->http_key_from};
    struct aws_event parsed;
    const char *wrong = aws_event_parse(event, from, &parsed);

    if (!wrong)
        check_event(front, connection, &parsed, flags);
    aws_event_free(&parsed);
    return wrong;
}
