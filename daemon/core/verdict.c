/* SPDX-License-Identifier: MIT */
#include "apikeyd/verdict.h"

#include <uuid/uuid.h>

#include "apikeyd/digest.h"

const char *verdict_kind_name(enum verdict_kind kind)
{
    static const char *const name[] = {
        [VERDICT_UNAVAILABLE] = "UNAVAILABLE",
        [VERDICT_ALLOW] = "ALLOW",
        [VERDICT_DENY_UNKNOWN] = "DENY unknown",
        [VERDICT_DENY_INACTIVE] = "DENY inactive",
    };

    return name[kind];
}

const char *tier_name(enum tier tier)
{
    static const char *const name[] = {
        [TIER_MEMORY] = "memory", [TIER_REDIS] = "redis", [TIER_POSTGRES] = "postgres",
        [TIER_STALE] = "stale",   [TIER_NONE] = "none",
    };

    return name[tier];
}

void uuid_to_text(const struct uuid *uuid, char *ret_text)
{
    const uint8_t *b = uuid->bytes;

    hex_encode(b, 4, ret_text);
    ret_text[8] = '-';
    hex_encode(b + 4, 2, ret_text + 9);
    ret_text[13] = '-';
    hex_encode(b + 6, 2, ret_text + 14);
    ret_text[18] = '-';
    hex_encode(b + 8, 2, ret_text + 19);
    ret_text[23] = '-';
    hex_encode(b + 10, 6, ret_text + 24);
}

bool uuid_from_text(const char *text, struct uuid *ret)
{
    return uuid_parse_range(text, text + UUID_TEXT_LEN, ret->bytes) == 0;
}
