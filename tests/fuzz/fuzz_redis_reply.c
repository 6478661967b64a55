/* SPDX-License-Identifier: MIT */
/* What a server says that need not be Redis, in pieces of any size. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "redis_reply.h"

/* Every byte of it can be read, and its elements are within bounds. */
static size_t look(const struct redis_reply *reply, size_t *bytes)
{
    size_t elements = 0;

    FUZZ_MUST(reply->kind <= REPLY_ARRAY);
    for (size_t i = 0; i < reply->text.len; i++)
        *bytes += (reply->text.at[i] & 0) + 1;
    for (size_t i = 0; i < reply->len; i++)
        elements += 1 + look(&reply->element[i], bytes);
    return elements;
}

/* The first byte says how long the pieces are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_reader *reader = redis_reader_new();
    size_t piece = size > 0 ? 1 + data[0] : 1;
    int taken = 0;

    FUZZ_MUST(reader);
    for (size_t at = 1; at < size && taken >= 0; at += piece) {
        const struct redis_reply *reply;
        size_t len = size - at < piece ? size - at : piece;

        FUZZ_MUST(redis_reader_feed(reader, data + at, len));
        while ((taken = redis_reader_take(reader, &reply)) > 0) {
            size_t bytes = 0;

            FUZZ_MUST(look(reply, &bytes) <= REDIS_ELEMENTS_MAX && bytes <= REDIS_REPLY_MAX);
        }
        FUZZ_MUST(taken == 0 || taken == -EPROTO || taken == -EMSGSIZE);
    }
    redis_reader_free(reader);
    return 0;
}
