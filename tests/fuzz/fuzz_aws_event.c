/* SPDX-License-Identifier: MIT */
/* Lambda authorizer events, and the answers to those that are well-formed. */
#include <string.h>

#include <jansson.h>

#include <apikeyd/wire/aws_event.h>

#include "fuzz.h"

static const char *const forms[] = {"api_key",    "api_key_id",      "header",        "header:NAME",
                                    "query:NAME", "identity_source", "authorization", NULL};

/* JSON, and with the effect that was meant, whatever the event held. */
static void judge(const struct buffer *answer, const char *resource, bool allowed,
                  const char *usage_key)
{
    json_error_t error;
    json_t *json = json_loadb(answer->data, answer->len, JSON_REJECT_DUPLICATES, &error);
    const json_t *statement =
        json_array_get(json_object_get(json_object_get(json, "policyDocument"), "Statement"), 0);
    const char *effect = json_string_value(json_object_get(statement, "Effect"));

    const char *shown = json_string_value(json_object_get(json, "usageIdentifierKey"));

    FUZZ_MUST(json);
    FUZZ_MUST(!shown == !(resource && usage_key) && (!shown || strcmp(shown, usage_key) == 0));
    if (resource) {
        FUZZ_MUST(effect && strcmp(effect, allowed ? "Allow" : "Deny") == 0);
        FUZZ_MUST(strcmp(json_string_value(json_object_get(statement, "Resource")), resource) == 0);
    } else {
        FUZZ_MUST(json_is_true(json_object_get(json, "isAuthorized")) == allowed);
    }
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct attribute_columns columns = {2, {{"plan", "Plan"}, {"scopes", "Scopes"}}};
    static const struct verdict allow = {.kind = VERDICT_ALLOW,
                                         .attributes = {"a04goldb03a\"\n", 13}};
    struct slice json = {(const char *)data, size};
    struct aws_event event;
    struct buffer answer = {0};
    struct key_sources aws, http;
    char scratch[256];

    FUZZ_MUST(!key_sources_parse("api_key, api_key_id, header, query:key, header:Authorization, "
                                 "identity_source, authorization",
                                 forms, &aws, scratch, sizeof scratch));
    FUZZ_MUST(!key_sources_parse("header:X-API-Key", forms, &http, scratch, sizeof scratch));
    const char *wrong = aws_event_parse(json, (struct aws_key_from){&aws, &http}, &event);
    if (!wrong) {
        FUZZ_MUST(!event.key || event.key[0]);
        aws_event_allow(&answer, event.resource, &allow, &columns, event.key);
        judge(&answer, event.resource, true, event.key);
        buffer_consume(&answer, answer.len);
        aws_event_deny(&answer, event.resource, "the key is unknown");
        judge(&answer, event.resource, false, NULL);
    }
    buffer_free(&answer);
    aws_event_free(&event);
    return 0;
}
