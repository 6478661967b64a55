/* SPDX-License-Identifier: MIT */
/* Bytes on a check or admin socket, through the real connections and commands. */
#include <string.h>

#include <apikeyd/face/commands.h>

#include "fake_back.h"
#include "fuzz.h"

/* Nobody gets in without having named the key: `reply` is an array, and `bytes` is what was sent.
 */
static void judge_array(struct slice reply, struct slice bytes)
{
    static const char allow[] = "*3\r\n$5\r\nALLOW", with_attributes[] = "*4\r\n$5\r\nALLOW";
    static const char last[] = "\r\nscopes\r\n$10\r\nread write\r\n";

    if (reply.len < sizeof allow - 1)
        return;
    if (memcmp(reply.at, allow, sizeof allow - 1) == 0)
        FUZZ_MUST(memmem(bytes.at, bytes.len, "good", 4));
    if (memcmp(reply.at, with_attributes, sizeof with_attributes - 1) == 0)
        FUZZ_MUST(memmem(bytes.at, bytes.len, "good", 4) &&
                  memmem(reply.at, reply.len, last, sizeof last - 1));
}

/* One reply, in RESP2 or RESP3, at the start of `text`, to `depth` arrays in each other: its
 * length. */
static size_t judge_reply(struct slice text, struct slice bytes, int depth)
{
    const char *line = memmem(text.at, text.len, "\r\n", 2);
    char *digits_end;

    FUZZ_MUST(line && strchr("+-:$*_=%~", text.at[0]) && depth > 0);
    size_t len = (size_t)(line - text.at) + 2;
    if (!strchr("$*=%~", text.at[0]))
        return len;
    long count = strtol(text.at + 1, &digits_end, 10);
    FUZZ_MUST(digits_end == line && count >= -1);
    if (strchr("$=", text.at[0])) {
        if (count < 0)
            return len;
        FUZZ_MUST(len + (size_t)count + 2 <= text.len);
        FUZZ_MUST(memcmp(text.at + len + count, "\r\n", 2) == 0);
        return len + (size_t)count + 2;
    }
    judge_array(text, bytes);
    for (long i = 0; i < (text.at[0] == '%' ? 2 * count : count); i++)
        len += judge_reply((struct slice){text.at + len, text.len - len}, bytes, depth - 1);
    return len;
}

static void judge(const struct buffer *replies, struct slice bytes)
{
    struct slice rest = buffer_held(replies);

    while (rest.len > 0) {
        size_t len = judge_reply(rest, bytes, 5);

        rest.at += len;
        rest.len -= len;
    }
}

static bool has_word(struct slice bytes, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= bytes.len; i++) {
        if (strncasecmp(bytes.at + i, word, len) == 0)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer whole = {0}, cut = {0};

    if (size < 2)
        return 0;
    struct play play =
        fake_back_choose(data[0] & 1 ? &admin_protocol : &check_protocol, data, size);

    fake_back_play(&play, &cut);
    if (!play.hang_up)
        judge(&cut, play.bytes);
    /* How the bytes are cut makes no difference, but for what tells of time or of connections. */
    if (play.piece > 0 && !play.hang_up && !play.protocol->admin &&
        !has_word(play.bytes, "WITHIN") &&
        !(has_word(play.bytes, "CLIENT") && has_word(play.bytes, "INFO"))) {
        play.piece = 0;
        fake_back_play(&play, &whole);
        FUZZ_MUST(whole.len == cut.len);
        FUZZ_MUST(cut.len == 0 ||
                  memcmp(buffer_held(&whole).at, buffer_held(&cut).at, cut.len) == 0);
    }
    buffer_free(&whole);
    buffer_free(&cut);
    return 0;
}
