/* SPDX-License-Identifier: MIT */
/* Bytes on the HTTP socket, through the real connections and handlers. */
#include <string.h>

#include <apikeyd/face/http.h>

#include "fake_back.h"
#include "fuzz.h"

enum { STATUSES_MAX = 256 };

static bool has(struct slice text, const char *word)
{
    return memmem(text.at, text.len, word, strlen(word));
}

/* The status lines among the replies, as long as bodies hold none. */
static size_t statuses(struct slice replies, int ret_status[static STATUSES_MAX])
{
    size_t count = 0;
    const char *at = replies.at, *end = replies.at + replies.len;

    while (count < STATUSES_MAX && (at = memmem(at, (size_t)(end - at), "HTTP/1.1 ", 9))) {
        at += 9;
        ret_status[count++] = (int)strtol(at, NULL, 10);
    }
    return count;
}

/* Nobody gets in without having named the key; in an event it may be escaped. */
static void judge(const struct buffer *replies, struct slice bytes)
{
    struct slice text = buffer_held(replies);

    if (text.len == 0)
        return;
    FUZZ_MUST(memcmp(text.at, "HTTP/1.1 ", 9) == 0);
    if (has(text, "X-User-Id:"))
        FUZZ_MUST(has(bytes, "good"));
    if (has(text, "\"Allow\"") || has(text, "\"isAuthorized\":true"))
        FUZZ_MUST(has(bytes, "good") || has(bytes, "\\u"));
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
