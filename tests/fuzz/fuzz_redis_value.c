/* SPDX-License-Identifier: MIT */
/* Values found in Redis, which whoever can write there has made. */
#include <string.h>

#include <apikeyd/wire/redis_value.h>

#include "fuzz.h"

static const struct slice key = {"apikeyd:1:00112233445566778899aabbccddeeff", 42};
static const struct slice other = {"apikeyd:1:ffeeddccbbaa99887766554433221100", 42};
static const struct slice secret = {"a secret that the fuzzer does not know", 38};
static const struct slice none = {"", 0};

enum { COLUMNS = 3 };

/* What was read can be written again, with a tag that holds for this key and no other. */
static void write_again(const struct verdict *verdict, struct redis_value_form form,
                        int64_t server_us)
{
    char text[REDIS_VALUE_SIZE];
    size_t len = redis_value_encode(key, form.format, verdict, server_us, secret, text);
    struct slice value = {text, len};
    struct verdict again = {0};
    int64_t again_us = 0;

    FUZZ_MUST(len > 0 && len < sizeof text);
    FUZZ_MUST(redis_value_decode(key, value, secret, form, &again, &again_us) ==
              REDIS_VALUE_VERDICT);
    FUZZ_MUST(again.kind == verdict->kind && again_us == server_us);
    FUZZ_MUST(again.window.start_us == verdict->window.start_us);
    FUZZ_MUST(again.window.end_us == verdict->window.end_us);
    FUZZ_MUST(again.attributes.len == verdict->attributes.len);
    FUZZ_MUST(again.attributes.len == 0 ||
              memcmp(again.attributes.at, verdict->attributes.at, again.attributes.len) == 0);
    FUZZ_MUST(row_id_order(&again.api_key_id, &verdict->api_key_id) == 0);
    FUZZ_MUST(row_id_order(&again.user_id, &verdict->user_id) == 0);
    FUZZ_MUST(redis_value_decode(other, value, secret, form, &again, &again_us) ==
              REDIS_VALUE_FORGED);
    text[len / 2] ^= 1;
    FUZZ_MUST(redis_value_decode(key, value, secret, form, &again, &again_us) ==
              REDIS_VALUE_FORGED);
}

/* Whoever takes them one by one ends where they end, and they can be put together again. */
static void take_apart(struct attributes attributes)
{
    struct attributes_draft draft = {0};
    struct attributes rest = attributes;
    struct attribute attribute;

    while (attributes_take(&rest, &attribute)) {
        FUZZ_MUST(attribute.column < COLUMNS);
        FUZZ_MUST(attributes_append(&draft, attribute.column, attribute.value));
    }
    FUZZ_MUST(rest.len == 0 && draft.len == attributes.len);
    FUZZ_MUST(draft.len == 0 || memcmp(draft.bytes, attributes.at, draft.len) == 0);
}

static void judge(struct slice value, struct redis_value_form form)
{
    struct verdict verdict = {0};
    int64_t server_us = -1;

    /* Nobody guesses a tag. */
    enum redis_value_kind kind = redis_value_decode(key, value, secret, form, &verdict, &server_us);
    FUZZ_MUST(kind == REDIS_VALUE_FORGED || kind == REDIS_VALUE_TOMBSTONE);
    FUZZ_MUST(kind == REDIS_VALUE_TOMBSTONE ? server_us >= 0 : server_us == -1);
    if (redis_value_decode(key, value, none, form, &verdict, &server_us) != REDIS_VALUE_VERDICT)
        return;
    FUZZ_MUST(verdict.kind == VERDICT_ALLOW || verdict.kind == VERDICT_DENY_INACTIVE);
    FUZZ_MUST(server_us >= 0);
    FUZZ_MUST(verdict.window.start_us >= 0 && verdict.window.end_us >= 0);
    take_apart(verdict.attributes);
    write_again(&verdict, form, server_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum id_type type = ID_UUID; type <= ID_TEXT; type++) {
        judge((struct slice){(const char *)data, size},
              (struct redis_value_form){REDIS_VALUE_PLAIN, type, 0, false});
        judge((struct slice){(const char *)data, size},
              (struct redis_value_form){REDIS_VALUE_WITH_WINDOW, type, 0, false});
        judge((struct slice){(const char *)data, size},
              (struct redis_value_form){REDIS_VALUE_WITH_ATTRIBUTES, type, COLUMNS, true});
    }
    return 0;
}
