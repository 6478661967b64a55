/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/aws_event.h>

#include <stdlib.h>

#include <jansson.h>

#include <apikeyd/base/out_of_memory.h>

/* A copy of a string member that is not empty, or NULL. */
static char *copy_text(const json_t *text)
{
    return json_string_length(text) > 0 ? strdup(json_string_value(text)) : NULL;
}

/* How many members have a name, compared without case as HTTP field names are; *ret is the last. */
static size_t count_field(const json_t *fields, const char *name, const json_t **ret)
{
    size_t count = 0;

    for (void *at = json_object_iter((json_t *)fields); at;
         at = json_object_iter_next((json_t *)fields, at)) {
        if (strcasecmp(json_object_iter_key(at), name) != 0)
            continue;
        *ret = json_object_iter_value(at);
        count++;
    }
    return count;
}

/* The policy is for the whole stage, as API Gateway keeps it for the caller's other requests too:
 * arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>. */
static char *whole_stage(const char *method_arn)
{
    const char *api = strncmp(method_arn, "arn:", 4) == 0 ? strchr(method_arn, '/') : NULL;
    const char *stage = api ? strchr(api + 1, '/') : NULL;
    struct buffer resource = {0};

    if (!stage)
        return NULL;
    buffer_append(&resource, method_arn, (size_t)(stage - method_arn));
    buffer_append(&resource, "/*", sizeof "/*");
    return resource.data;
}

static const char *take_header(const json_t *event, const char *key_header, struct aws_event *ret)
{
    const json_t *fields = json_object_get(event, "headers");
    const json_t *all = json_object_get(event, "multiValueHeaders");
    const json_t *field = NULL;
    const json_t *values = NULL;

    /* A caller that sends none has a null here. */
    if (fields && !json_is_null(fields) && !json_is_object(fields))
        return "headers: an object is expected";
    /* Several values count as none: which one is meant is unknown. */
    if (count_field(fields, key_header, &field) > 1 || count_field(all, key_header, &values) > 1 ||
        json_array_size(values) > 1)
        return NULL;
    ret->key = copy_text(field);
    return NULL;
}

static const char *take_key(const json_t *event, const char *key_header, struct aws_event *ret)
{
    const json_t *type = json_object_get(event, "type");
    const json_t *context = json_object_get(event, "requestContext");
    const json_t *identity = json_object_get(context, "identity");

    if (!json_is_string(type))
        return "type: TOKEN or REQUEST is expected";
    if (strcmp(json_string_value(type), "TOKEN") == 0) {
        ret->key = copy_text(json_object_get(event, "authorizationToken"));
        return ret->key ? NULL : "authorizationToken: a string is expected";
    }
    if (strcmp(json_string_value(type), "REQUEST") != 0)
        return "type: TOKEN or REQUEST is expected";
    if (!json_is_object(context))
        return "requestContext: an object is expected";
    ret->key = copy_text(json_object_get(identity, "apiKeyId"));
    return ret->key ? NULL : take_header(event, key_header, ret);
}

static const char *take_event(const json_t *event, const char *key_header, struct aws_event *ret)
{
    const json_t *version = json_object_get(event, "version");
    const json_t *arn = json_object_get(event, "methodArn");
    const char *number = json_string_value(version);

    if (!json_is_object(event))
        return "an object is expected";
    if (version && (!number || (strcmp(number, "1.0") != 0 && strcmp(number, "2.0") != 0)))
        return "version: 1.0 or 2.0 is expected, in quotes";
    if (!number || strcmp(number, "1.0") == 0) {
        if (!json_is_string(arn))
            return "methodArn: a string is expected";
        ret->resource = whole_stage(json_string_value(arn));
        if (!ret->resource)
            return "methodArn: an ARN of API Gateway is expected";
    }
    return take_key(event, key_header, ret);
}

const char *aws_event_parse(struct slice json, const char *key_header, struct aws_event *ret)
{
    json_error_t error;
    json_t *event = json_loadb(json.at, json.len, JSON_REJECT_DUPLICATES, &error);
    const char *wrong = "the body is not JSON, or names a field twice";

    *ret = (struct aws_event){0};
    if (event)
        wrong = take_event(event, key_header, ret);
    json_decref(event);
    return wrong;
}

void aws_event_free(struct aws_event *event)
{
    if (event->key)
        explicit_bzero(event->key, strlen(event->key));
    free(event->key);
    free(event->resource);
    *event = (struct aws_event){0};
}

/* Takes `context`. */
static void write_answer(struct buffer *out, const char *resource, bool allowed,
                         const char *principal, json_t *context)
{
    json_t *answer;

    if (resource)
        answer = json_pack("{s:s, s:{s:s, s:[{s:s, s:s, s:s}]}, s:o}", "principalId", principal,
                           "policyDocument", "Version", "2012-10-17", "Statement", "Action",
                           "execute-api:Invoke", "Effect", allowed ? "Allow" : "Deny", "Resource",
                           resource, "context", context);
    else
        answer = json_pack("{s:b, s:o}", "isAuthorized", allowed, "context", context);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (!text)
        out_of_memory();
    buffer_append(out, text, strlen(text));
    free(text);
    json_decref(answer);
}

void aws_event_allow(struct buffer *out, const char *resource, const struct verdict *verdict)
{
    char key_text[ID_TEXT_MAX + 1] = "", user_text[ID_TEXT_MAX + 1] = "";

    (void)row_id_to_text(&verdict->api_key_id, verdict->id_type, key_text);
    (void)row_id_to_text(&verdict->user_id, verdict->id_type, user_text);
    write_answer(out, resource, true, user_text,
                 json_pack("{s:s, s:s}", "apiKeyId", key_text, "userId", user_text));
}

void aws_event_deny(struct buffer *out, const char *resource, const char *why)
{
    write_answer(out, resource, false, "anonymous", json_pack("{s:s}", "reason", why));
}
