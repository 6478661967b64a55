/* SPDX-License-Identifier: MIT */
/* Lambda authorizer events, and the answers to those that are well-formed. */
#include <string.h>

#include <jansson.h>

#include <apikeyd/wire/aws_event.h>

#include "fuzz.h"

/* JSON, and with the effect that was meant, whatever the event held. */
static void judge(const struct buffer *answer, const char *resource, bool allowed)
{
    json_error_t error;
    json_t *json = json_loadb(answer->data, answer->len, JSON_REJECT_DUPLICATES, &error);
    const json_t *statement =
        json_array_get(json_object_get(json_object_get(json, "policyDocument"), "Statement"), 0);
    const char *effect = json_string_value(json_object_get(statement, "Effect"));

    FUZZ_MUST(json);
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
    static const struct verdict allow = {.kind = VERDICT_ALLOW};
    struct slice json = {(const char *)data, size};
    struct aws_event event;
    struct buffer answer = {0};
    const char *wrong = aws_event_parse(json, "X-API-Key", &event);

    if (!wrong) {
        FUZZ_MUST(!event.key || event.key[0]);
        aws_event_allow(&answer, event.resource, &allow);
        judge(&answer, event.resource, true);
        buffer_consume(&answer, answer.len);
        aws_event_deny(&answer, event.resource, "the key is unknown");
        judge(&answer, event.resource, false);
    }
    buffer_free(&answer);
    aws_event_free(&event);
    return 0;
}
