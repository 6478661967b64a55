/* SPDX-License-Identifier: MIT */
/* Entries of a relay's stream in Redis, which whoever can write there has made. */
#include <string.h>

#include <apikeyd/wire/feed_entry.h>

#include "fuzz.h"

static const struct slice name = {"apikeyd:1:feed/1/2/3", 20};
static const struct slice other = {"apikeyd:1:feed/1/2/4", 20};
static const struct slice secret = {"a secret that the fuzzer does not know", 38};
static const struct slice none = {"", 0};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct feed_entry entry = {.number = -1}, again;
    char line[FEED_ENTRY_SIZE], twice[FEED_ENTRY_SIZE];

    /* Nobody guesses a tag. */
    FUZZ_MUST(feed_entry_decode(name, text, secret, &entry) == FEED_ENTRY_FORGED);
    if (feed_entry_decode(name, text, none, &entry) != FEED_ENTRY_FINE) {
        FUZZ_MUST(entry.number == -1);
        return 0;
    }
    FUZZ_MUST(entry.epoch > 0 && entry.number > 0 && entry.server_us >= 0);
    FUZZ_MUST(entry.started_us >= 0 && entry.delay_us >= 0);

    /* What was read can be written again, with a tag that holds for this line and this stream. */
    size_t len = feed_entry_encode(name, &entry, secret, line);
    struct slice written = {line, len};
    FUZZ_MUST(len > 0 && len < sizeof line);
    FUZZ_MUST(feed_entry_decode(name, written, secret, &again) == FEED_ENTRY_FINE);
    FUZZ_MUST(feed_entry_encode(name, &again, secret, twice) == len);
    FUZZ_MUST(memcmp(line, twice, len) == 0);
    FUZZ_MUST(feed_entry_decode(other, written, secret, &again) == FEED_ENTRY_FORGED);
    line[len / 2] ^= 1;
    FUZZ_MUST(feed_entry_decode(name, written, secret, &again) == FEED_ENTRY_FORGED);
    return 0;
}
