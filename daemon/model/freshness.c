/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/freshness.h>

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void freshness_confirm(struct freshness_inputs *inputs, int64_t sent_us)
{
    if (sent_us >= inputs->jumped_us)
        inputs->confirmed_us = sent_us;
}

void freshness_jump(struct freshness_inputs *inputs, int64_t now_us, int64_t jump_us)
{
    if (inputs->jumped_us >= now_us)
        return;
    if (inputs->confirmed_us < now_us)
        inputs->confirmed_us = TIME_NEVER;
    inputs->watermark_us = later(inputs->watermark_us, now_us);
    inputs->jumped_us = now_us;
    inputs->lost_us += later(jump_us, 0);
}

/* How early a verdict may have been read that is served stale, by the clock as it runs. */
static int64_t stale_since(const struct freshness_policy *policy,
                           const struct freshness_inputs *inputs, int64_t now_us)
{
    int64_t since_us = now_us - policy->stale_max_us;

    if (since_us >= inputs->jumped_us)
        return since_us;
    return sooner(since_us + inputs->lost_us, inputs->jumped_us);
}

struct freshness freshness_at(const struct freshness_policy *policy,
                              const struct freshness_inputs *inputs, int64_t now_us)
{
    bool confirmed = inputs->confirmed_us >= now_us - policy->ttl_unlinked_us;
    bool linked = confirmed && !inputs->elsewhere;
    int64_t bound_us = linked ? INT64_MAX : policy->ttl_unlinked_us;
    int64_t ttl_us = sooner(policy->ttl_us, bound_us);
    int64_t negative_ttl_us = sooner(policy->negative_ttl_us, bound_us);
    int64_t known_us = confirmed ? inputs->watermark_us : inputs->known_watermark_us;
    int64_t oldest_stale_us =
        inputs->elsewhere ? INT64_MAX : later(known_us, stale_since(policy, inputs, now_us));

    return (struct freshness){
        .now_us = now_us,
        .linked = linked,
        .oldest_us = later(inputs->watermark_us, now_us - ttl_us),
        .oldest_unknown_us = later(inputs->watermark_us, now_us - negative_ttl_us),
        .oldest_stale_us = oldest_stale_us,
        .oldest_at_soft_timeout_us =
            linked && inputs->notified ? later(inputs->watermark_us, oldest_stale_us) : INT64_MAX,
        .refresh_us = now_us - ttl_us + ttl_us / 5,
        .ttl_us = ttl_us,
        .unknown_ttl_us = negative_ttl_us,
    };
}
