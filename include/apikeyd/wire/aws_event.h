/* aws_event: events of an API Gateway Lambda authorizer, and the answers to them.
 *
 * The source is "Use API Gateway Lambda authorizers" (REST APIs: TOKEN and REQUEST) and "Control
 * access to HTTP APIs with Lambda authorizers" (payload format versions 1.0 and 2.0) in the Amazon
 * API Gateway developer guide. The key ID is requestContext.identity.apiKeyId, else the header's,
 * else, in a TOKEN event, authorizationToken.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_AWS_EVENT_H
#define APIKEYD_AWS_EVENT_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/verdict.h>

struct aws_event {
    char *key;      /* NULL: the caller sent no key, or several */
    char *resource; /* of the policy; NULL: the event asks for the simple answer of version 2.0 */
};

/* Read an event. Returns NULL, or what is wrong with the event, naming the field. Free `ret` in
 * either case. */
const char *aws_event_parse(struct slice json, const char *key_header, struct aws_event *ret);
void aws_event_free(struct aws_event *event);

/* Append the answer to an event with that `resource`. */
void aws_event_allow(struct buffer *out, const char *resource, const struct verdict *verdict);
void aws_event_deny(struct buffer *out, const char *resource, const char *why);

#endif
