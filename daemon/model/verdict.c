/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/verdict.h>

#include <apikeyd/model/digest.h>

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
    uint8_t *b = ret->bytes;

    return text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' &&
           hex_decode(text, 4, b) && hex_decode(text + 9, 2, b + 4) &&
           hex_decode(text + 14, 2, b + 6) && hex_decode(text + 19, 2, b + 8) &&
           hex_decode(text + 24, 6, b + 10);
}
