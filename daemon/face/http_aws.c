/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/aws_event.h>
#include <apikeyd/wire/http_reply.h>

#include "http_aws.h"

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

    switch (answer->verdict->kind) {
    case VERDICT_ALLOW:
        aws_event_allow(&body, encoder->text, answer->verdict);
        reply(front, out, encoder, &body);
        break;
    case VERDICT_DENY_UNKNOWN:
        deny(front, out, encoder, "unknown");
        break;
    case VERDICT_DENY_INACTIVE:
        deny(front, out, encoder, "inactive");
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
static void check_event(struct front *front, struct connection *connection, struct aws_event *event,
                        unsigned flags)
{
    struct check check = {
        .connection = connection,
        .key = {event->key, event->key ? strlen(event->key) : 0},
        .encoder = {.write = write_answer, .flags = flags, .text = event->resource},
    };

    if (event->key && !check_key(front, &check)) {
        event->resource = NULL;
        return;
    }
    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    deny(front, connection_reply(connection), &check.encoder, event->key ? "malformed" : "missing");
}

const char *http_aws_authorizer(struct front *front, struct connection *connection,
                                struct slice event, unsigned flags)
{
    struct aws_event parsed;
    const char *wrong = aws_event_parse(event, front->config->http_key_header, &parsed);

    if (!wrong)
        check_event(front, connection, &parsed, flags);
    aws_event_free(&parsed);
    return wrong;
}
