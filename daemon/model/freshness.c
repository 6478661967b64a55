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

void grounds_confirm(struct grounds *grounds, int64_t sent_us)
{
    if (sent_us >= grounds->jumped_us)
        grounds->confirmed_us = sent_us;
}

void grounds_jump(struct grounds *grounds, int64_t now_us, int64_t jump_us)
{
    if (grounds->jumped_us >= now_us)
        return;
    if (grounds->confirmed_us < now_us)
        grounds->confirmed_us = TIME_NEVER;
    grounds->floor_us = later(grounds->floor_us, now_us);
    grounds->jumped_us = now_us;
    grounds->lost_us += later(jump_us, 0);
}

/* How early a verdict may have been read that is served stale, by the clock as it runs. */
static int64_t stale_since(const struct trust_policy *policy, const struct grounds *grounds,
                           int64_t now_us)
{
    int64_t since_us = now_us - policy->stale_max_us;

    if (since_us >= grounds->jumped_us)
        return since_us;
    return sooner(since_us + grounds->lost_us, grounds->jumped_us);
}

struct trust trust_at(const struct trust_policy *policy, const struct grounds *grounds,
                      int64_t now_us)
{
    bool confirmed = grounds->confirmed_us >= now_us - policy->ttl_unlinked_us;
    bool linked = confirmed && !grounds->elsewhere;
    int64_t bound_us = linked ? INT64_MAX : policy->ttl_unlinked_us;
    int64_t ttl_us = sooner(policy->ttl_us, bound_us);
    int64_t negative_ttl_us = sooner(policy->negative_ttl_us, bound_us);
    int64_t known_us = confirmed ? grounds->floor_us : grounds->forgotten_us;
    int64_t oldest_stale_us =
        grounds->elsewhere ? INT64_MAX : later(known_us, stale_since(policy, grounds, now_us));

    return (struct trust){
        .now_us = now_us,
        .linked = linked,
        .oldest_us = later(grounds->floor_us, now_us - ttl_us),
        .oldest_unknown_us = later(grounds->floor_us, now_us - negative_ttl_us),
        .oldest_stale_us = oldest_stale_us,
        .oldest_patient_us =
            linked && grounds->notified ? later(grounds->floor_us, oldest_stale_us) : INT64_MAX,
        .refresh_us = now_us - ttl_us + ttl_us / 5,
        .ttl_us = ttl_us,
        .unknown_ttl_us = negative_ttl_us,
    };
}
