/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/aws_event.h>

#include <stdlib.h>

#include <jansson.h>

#include <apikeyd/base/out_of_memory.h>
#include <apikeyd/wire/request_key.h>

/* What a source holds. */
struct finding {
    const char *text; /* in the event; NULL: the source has no key, or only an empty one */
    bool several;     /* different ones: which one is meant is unknown */
};

static void find_text(struct finding *finding, const json_t *text)
{
    if (json_string_length(text) == 0)
        return;
    if (finding->text && strcmp(finding->text, json_string_value(text)) != 0)
        finding->several = true;
    finding->text = json_string_value(text);
}

/* A text, or each text of a list. */
static void find_texts(struct finding *finding, const json_t *texts)
{
    find_text(finding, texts);
    for (size_t i = 0; i < json_array_size(texts); i++)
        find_text(finding, json_array_get(texts, i));
}

/* Members with that name: names of HTTP fields have no case. */
static void find_members(struct finding *finding, const json_t *object, const char *name,
                         bool cased)
{
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at)) {
        const char *key = json_object_iter_key(at);

        if (cased ? strcmp(key, name) == 0 : strcasecmp(key, name) == 0)
            find_texts(finding, json_object_iter_value(at));
    }
}

static void find_header(struct finding *finding, const json_t *event, const char *name)
{
    find_members(finding, json_object_get(event, "headers"), name, false);
    find_members(finding, json_object_get(event, "multiValueHeaders"), name, false);
}

static void find_query(struct finding *finding, const json_t *event, const char *name)
{
    find_members(finding, json_object_get(event, "queryStringParameters"), name, true);
    find_members(finding, json_object_get(event, "multiValueQueryStringParameters"), name, true);
}

/* A header's value, as HTTP would have it. */
static struct slice header_value(const char *name, struct slice value)
{
    value = slice_trim(value);
    return strcasecmp(name, "Authorization") == 0 ? request_key_credentials(value) : value;
}

/* AWS's ARNs are shorter. The resource is retained while a lookup is under way. */
enum { RESOURCE_MAX = 1024 };

/* The policy is for the whole stage, as API Gateway keeps it for the caller's other requests too:
 * arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>. */
static char *whole_stage(const char *method_arn)
{
    const char *api = strncmp(method_arn, "arn:", 4) == 0 ? strchr(method_arn, '/') : NULL;
    const char *stage = api ? strchr(api + 1, '/') : NULL;
    struct buffer resource = {0};

    if (!stage || stage - method_arn > RESOURCE_MAX)
        return NULL;
    buffer_append(&resource, method_arn, (size_t)(stage - method_arn));
    buffer_append(&resource, "/*", sizeof "/*");
    return resource.data;
}

/* Look into one source. *ret is the key in what was found. */
static struct finding find_in(const json_t *event, const struct key_source *source,
                              struct slice *ret)
{
    const json_t *identity = json_object_get(json_object_get(event, "requestContext"), "identity");
    struct finding finding = {0};
    const char *field = "";

    switch (source->kind) {
    case KEY_IN_API_KEY:
        find_text(&finding, json_object_get(identity, "apiKey"));
        break;
    case KEY_IN_API_KEY_ID:
        find_text(&finding, json_object_get(identity, "apiKeyId"));
        break;
    case KEY_IN_AUTHORIZATION:
        field = "Authorization";
        find_text(&finding, json_object_get(event, "authorizationToken"));
        break;
    case KEY_IN_IDENTITY_SOURCE:
        field = "Authorization";
        find_texts(&finding, json_object_get(event, "identitySource"));
        break;
    case KEY_IN_QUERY:
        find_query(&finding, event, source->name);
        break;
    default:
        field = source->name;
        find_header(&finding, event, source->name);
        break;
    }
    *ret = (struct slice){finding.text, finding.text ? strlen(finding.text) : 0};
    if (finding.text && field[0])
        *ret = header_value(field, *ret);
    return finding;
}

/* Returns whether the event has the source, with one key or several. */
static bool take_from(const json_t *event, const struct key_source *source, struct aws_event *ret)
{
    struct slice key;
    struct finding finding = find_in(event, source, &key);

    if (!finding.text)
        return false;
    if (!finding.several && key.len > 0)
        ret->key = strndup(key.at, key.len);
    return true;
}

static bool take_from_headers_of(const json_t *event, const struct key_sources *http,
                                 struct aws_event *ret)
{
    for (size_t i = 0; i < http->len; i++) {
        if (http->source[i].kind == KEY_IN_HEADER && take_from(event, &http->source[i], ret))
            return true;
    }
    return false;
}

/* The first source that the event has. */
static void take_key(const json_t *event, struct aws_key_from from, struct aws_event *ret)
{
    for (size_t i = 0; i < from.aws->len; i++) {
        const struct key_source *source = &from.aws->source[i];
        bool any_header = source->kind == KEY_IN_HEADER && !source->name[0];

        if (any_header ? take_from_headers_of(event, from.http, ret)
                       : take_from(event, source, ret))
            return;
    }
}

static const char *check_form(const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *headers = json_object_get(event, "headers");

    if (!type || (strcmp(type, "TOKEN") != 0 && strcmp(type, "REQUEST") != 0))
        return "type: TOKEN or REQUEST is expected";
    if (strcmp(type, "TOKEN") == 0)
        return json_string_length(json_object_get(event, "authorizationToken")) > 0
                   ? NULL
                   : "authorizationToken: a string is expected";
    if (!json_is_object(json_object_get(event, "requestContext")))
        return "requestContext: an object is expected";
    /* A caller that sends none has a null here. */
    if (headers && !json_is_null(headers) && !json_is_object(headers))
        return "headers: an object is expected";
    return NULL;
}

static const char *take_event(const json_t *event, struct aws_key_from from, struct aws_event *ret)
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
    const char *wrong = check_form(event);
    if (!wrong)
        take_key(event, from, ret);
    return wrong;
}

const char *aws_event_parse(struct slice json, struct aws_key_from from, struct aws_event *ret)
{
    json_error_t error;
    json_t *event = json_loadb(json.at, json.len, JSON_REJECT_DUPLICATES, &error);
    const char *wrong = "the body is not JSON, or names a field twice";

    *ret = (struct aws_event){0};
    if (event)
        wrong = take_event(event, from, ret);
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

/* Takes `answer`. */
static void write_answer(struct buffer *out, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

    if (!text)
        out_of_memory();
    buffer_append(out, text, strlen(text));
    free(text);
    json_decref(answer);
}

/* A policy, or the simple answer if there is no resource. Takes `context`; NULL: out of memory. */
static json_t *make_answer(const char *resource, bool allowed, const char *principal,
                           json_t *context)
{
    if (!resource)
        return json_pack("{s:b, s:o}", "isAuthorized", allowed, "context", context);
    return json_pack("{s:s, s:{s:s, s:[{s:s, s:s, s:s}]}, s:o}", "principalId", principal,
                     "policyDocument", "Version", "2012-10-17", "Statement", "Action",
                     "execute-api:Invoke", "Effect", allowed ? "Allow" : "Deny", "Resource",
                     resource, "context", context);
}

/* API Gateway takes no value but a string, a number or a boolean, and hands all of them on as
 * strings. */
static void add_attributes(json_t *context, struct attributes rest,
                           const struct attribute_columns *columns)
{
    struct attribute attribute;

    while (attributes_take(&rest, &attribute)) {
        json_t *value = json_stringn(attribute.value.at, attribute.value.len);

        if (json_object_set_new(context, columns->column[attribute.column].name, value) != 0)
            out_of_memory();
    }
}

void aws_event_allow(struct buffer *out, const char *resource, const struct verdict *verdict,
                     const struct attribute_columns *columns, const char *usage_key)
{
    char key_text[ID_TEXT_MAX + 1] = "", user_text[ID_TEXT_MAX + 1] = "";

    (void)row_id_to_text(&verdict->api_key_id, verdict->id_type, key_text);
    (void)row_id_to_text(&verdict->user_id, verdict->id_type, user_text);
    json_t *context = json_pack("{s:s, s:s}", "apiKeyId", key_text, "userId", user_text);
    add_attributes(context, verdict->attributes, columns);
    json_t *answer = make_answer(resource, true, user_text, context);
    if (resource && usage_key &&
        json_object_set_new(answer, "usageIdentifierKey", json_string(usage_key)) != 0)
        out_of_memory();
    write_answer(out, answer);
}

void aws_event_deny(struct buffer *out, const char *resource, const char *why)
{
    write_answer(out, make_answer(resource, false, "anonymous", json_pack("{s:s}", "reason", why)));
}
