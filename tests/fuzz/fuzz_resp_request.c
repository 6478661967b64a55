/* SPDX-License-Identifier: MIT */
/* The parsers of requests: the one for all of them, and the fast one for CHECK, which must agree.
 */
#include <string.h>

#include <apikeyd/model/key_hasher.h>
#include <apikeyd/wire/resp_request.h>

#include "fuzz.h"

enum { MAX_REQUEST = 4096 };

static bool inside(struct slice part, struct slice whole)
{
    return part.at >= whole.at && part.at + part.len <= whole.at + whole.len;
}

/* What is complete is so at its last byte, and not before. */
static void judge_prefix(struct slice request)
{
    struct slice most = {request.at, request.len - 1};
    struct resp_request parsed;
    const char *why;
    size_t consumed;

    FUZZ_MUST(resp_request_parse(most, MAX_REQUEST, &parsed, &consumed, &why) == RESP_INCOMPLETE);
}

/* The fast parser sees a CHECK only where there is one, and then the same one. */
static void judge_check(struct slice input)
{
    struct slice key = {0};
    size_t taken = resp_request_check(input, &key);
    if (taken == 0)
        taken = resp_request_check_attributes(input, &key);
    struct resp_request parsed;
    const char *why;
    size_t consumed = 0;

    if (taken == 0)
        return;
    FUZZ_MUST(resp_request_parse(input, MAX_REQUEST, &parsed, &consumed, &why) == RESP_COMPLETE);
    FUZZ_MUST(consumed == taken && slice_is(parsed.argv[0], "CHECK"));
    bool attributes = resp_request_asks_attributes(input.at);
    FUZZ_MUST(parsed.argc == (attributes ? 3u : 2u));
    FUZZ_MUST(!attributes || slice_is(parsed.argv[2], "ATTRIBUTES"));
    FUZZ_MUST(parsed.argv[1].at == key.at && parsed.argv[1].len == key.len);
    FUZZ_MUST(key.len > 0 && key.len <= KEY_LEN_MAX && inside(key, input));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct resp_request request;
    const char *why = NULL;
    size_t consumed;

    while (rest.len > 0) {
        judge_check(rest);
        enum resp_status status = resp_request_parse(rest, MAX_REQUEST, &request, &consumed, &why);

        FUZZ_MUST(status != RESP_BROKEN || why);
        if (status != RESP_COMPLETE)
            return 0;
        FUZZ_MUST(consumed > 0 && consumed <= rest.len && consumed <= MAX_REQUEST);
        FUZZ_MUST(request.argc <= RESP_ARGS_MAX);
        for (size_t i = 0; i < request.argc; i++)
            FUZZ_MUST(inside(request.argv[i], (struct slice){rest.at, consumed}));
        judge_prefix((struct slice){rest.at, consumed});
        rest.at += consumed;
        rest.len -= consumed;
    }
    return 0;
}
