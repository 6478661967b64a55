/* SPDX-License-Identifier: MIT */
/* Payloads of NOTIFY, which any database role may send. */
#include <string.h>

#include <apikeyd/wire/notification.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice payload = {(const char *)data, size};
    struct notification found = {.server_us = -1};
    char hex[DIGEST_HEX_SIZE];

    if (!notification_parse(payload, &found)) {
        FUZZ_MUST(found.server_us == -1);
        return 0;
    }
    FUZZ_MUST(found.server_us >= 0);
    FUZZ_MUST(found.all == (payload.at[0] == '*'));
    if (found.all)
        return 0;
    digest_to_hex(&found.digest, hex);
    FUZZ_MUST(memcmp(hex, payload.at, DIGEST_HEX_SIZE - 1) == 0);
    return 0;
}
