/* SPDX-License-Identifier: MIT */
/* Bytes on the HTTP socket, through the real connections and handlers. */
#include <string.h>

#include <apikeyd/face/http.h>
#include <apikeyd/wire/http_request.h>

#include "fake_back.h"
#include "fuzz.h"

enum { STATUSES_MAX = 256 };

static bool has(struct slice text, const char *word)
{
    return memmem(text.at, text.len, word, strlen(word));
}

static bool has_in_any_case(struct slice text, const char *word)
{
    for (size_t len = strlen(word); text.len >= len; text.at++, text.len--) {
        if (strncasecmp(text.at, word, len) == 0)
            return true;
    }
    return false;
}

/* The final status lines among the replies, as long as bodies hold none. */
static size_t statuses(struct slice replies, int ret_status[static STATUSES_MAX])
{
    size_t count = 0;
    const char *at = replies.at, *end = replies.at + replies.len;

    while (count < STATUSES_MAX && (at = memmem(at, (size_t)(end - at), "HTTP/1.1 ", 9))) {
        at += 9;
        ret_status[count] = (int)strtol(at, NULL, 10);
        count += ret_status[count] != 100;
    }
    return count;
}

/* Nobody gets in without having named the key; it may be escaped, Base64, or cut by chunks. */
static void judge(const struct buffer *replies, struct slice bytes)
{
    struct slice text = buffer_held(replies);

    if (text.len == 0)
        return;
    FUZZ_MUST(memcmp(text.at, "HTTP/1.1 ", 9) == 0);
    if (has(text, "X-User-Id:"))
        FUZZ_MUST(has(bytes, "good") || has(bytes, "%") || has(bytes, "Z29vZD"));
    if (has(text, "\"Allow\"") || has(text, "\"isAuthorized\":true"))
        FUZZ_MUST(has(bytes, "good") || has(bytes, "\\u") || has_in_any_case(bytes, "chunked"));
}

static bool same(const struct request_key *a, const struct request_key *b)
{
    return a->found == b->found && !a->wrong == !b->wrong && a->uris == b->uris &&
           (a->wrong || (a->key.len == b->key.len &&
                         (a->key.len == 0 || memcmp(a->key.at, b->key.at, a->key.len) == 0)));
}

/* All sources are read, so their order makes no difference to what a request's key is. */
static void judge_order(struct slice bytes)
{
    static const char *const forms[] = {
        "header:NAME",       "bearer",      "basic-user", "query:NAME",
        "query:NAME@HEADER", "cookie:NAME", NULL};
    struct key_sources sources, other;
    struct http_request first, second;
    char scratch[256];
    const char *why;

    FUZZ_MUST(!key_sources_parse(
        "query:key@X-Uri,header:X-API-Key,bearer,basic-user,query:key,cookie:key", forms, &sources,
        scratch, sizeof scratch));
    FUZZ_MUST(!key_sources_parse(
        "query:key@X-Uri,cookie:key,query:key,basic-user,bearer,header:X-API-Key", forms, &other,
        scratch, sizeof scratch));
    enum http_parsed parsed = http_request_parse(bytes, &sources, &first, &why);
    FUZZ_MUST(http_request_parse(bytes, &other, &second, &why) == parsed);
    FUZZ_MUST(parsed != HTTP_COMPLETE || same(&first.key, &second.key));
    FUZZ_MUST(first.key.key.len <= KEY_LEN_MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer whole = {0}, cut = {0};
    int first[STATUSES_MAX], second[STATUSES_MAX];

    if (size < 2)
        return 0;
    struct play play = fake_back_choose(&http_protocol, data, size);

    fake_back_play(&play, &cut);
    if (!play.hang_up)
        judge(&cut, play.bytes);
    judge_order(play.bytes);
    /* How the bytes are cut makes no difference, but that a body which has not come yet, and which
     * nobody needs, ends the connection. */
    if (play.piece > 0 && !play.hang_up) {
        size_t count = statuses(buffer_held(&cut), first);

        play.piece = 0;
        fake_back_play(&play, &whole);
        FUZZ_MUST(statuses(buffer_held(&whole), second) >= count);
        FUZZ_MUST(memcmp(first, second, count * sizeof first[0]) == 0);
    }
    buffer_free(&whole);
    buffer_free(&cut);
    return 0;
}
