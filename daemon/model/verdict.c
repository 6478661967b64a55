/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/verdict.h>

const char *verdict_kind_name(enum verdict_kind kind)
{
    static const char *const name[] = {
        [VERDICT_UNAVAILABLE] = "UNAVAILABLE",   [VERDICT_ALLOW] = "ALLOW",
        [VERDICT_DENY_UNKNOWN] = "DENY unknown", [VERDICT_DENY_INACTIVE] = "DENY inactive",
        [VERDICT_DENY_EXPIRED] = "DENY expired", [VERDICT_DENY_EARLY] = "DENY early",
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
