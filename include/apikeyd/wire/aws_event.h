/* aws_event: events of an API Gateway Lambda authorizer, and the answers to them.
 *
 * The sources are "Use API Gateway Lambda authorizers" (REST APIs: TOKEN and REQUEST), "Create a
 * Lambda REQUEST authorizer function" (WebSocket APIs) and "Control access to HTTP APIs with Lambda
 * authorizers" (payload format versions 1.0 and 2.0) in the Amazon API Gateway developer guide. The
 * first source of aws.key_from that an event has counts: the gateway's own fields and the caller's
 * cannot be compared, as a deployment stores either the value or the ID of the gateway's key.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_AWS_EVENT_H
#define APIKEYD_AWS_EVENT_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/attribute_columns.h>
#include <apikeyd/model/key_source.h>
#include <apikeyd/model/verdict.h>

struct aws_event {
    char *key;      /* NULL: the caller sent no key, or several */
    char *resource; /* of the policy; NULL: the event asks for the simple answer of version 2.0 */
};

/* Where an event's key stands: aws.key_from, and http.key_from for its "header" without a name. */
struct aws_key_from {
    const struct key_sources *aws, *http;
};

/* Read an event. Returns NULL, or what is wrong with the event, naming the field. Free `ret` in
 * either case. */
const char *aws_event_parse(struct slice json, struct aws_key_from from, struct aws_event *ret);
void aws_event_free(struct aws_event *event);

/* Append the answer to an event with that `resource`. Its context has the IDs and the verdict's
 * attributes, as strings. A policy has usageIdentifierKey if `usage_key` is not NULL. */
void aws_event_allow(struct buffer *out, const char *resource, const struct verdict *verdict,
                     const struct attribute_columns *columns, const char *usage_key);
void aws_event_deny(struct buffer *out, const char *resource, const char *why);

#endif
