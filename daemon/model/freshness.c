/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/freshness.h>

#include <stdlib.h>

#include "watermarks.h"

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Returns the oldest read time of a verdict that may be served stale, by the running clock. */
static int64_t stale_since(const struct freshness_policy *policy,
                           const struct freshness_inputs *inputs, int64_t now_us)
{
    int64_t since_us = now_us - policy->stale_max_us;

    if (since_us >= inputs->jumped_us)
        return since_us;
    return sooner(since_us + inputs->lost_us, inputs->jumped_us);
}

struct freshness_limits freshness_limits_at(const struct freshness_policy *policy,
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

    struct freshness_limits limits = {
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
        .pg_earliest_us = INT64_MIN,
        .pg_latest_us = INT64_MAX,
    };

    if (inputs->reading.known && !policy->windowless) {
        limits.pg_earliest_us = pg_reading_earliest(&inputs->reading, now_us);
        limits.pg_latest_us = pg_reading_latest(&inputs->reading, now_us);
    }
    return limits;
}

void freshness_tick(struct freshness *freshness, int64_t now_us)
{
    freshness->limits = freshness_limits_at(&freshness->policy, &freshness->inputs, now_us);
}

/* Setters end with this call, so limits never lag behind events. */
static void update_limits(struct freshness *freshness)
{
    freshness_tick(freshness, freshness->limits.now_us);
}

void freshness_init(struct freshness *freshness, const struct freshness_policy *policy)
{
    *freshness = (struct freshness){
        .policy = *policy,
        .inputs = {.confirmed_us = TIME_NEVER,
                   .watermark_us = TIME_NEVER,
                   .known_watermark_us = TIME_NEVER},
    };
    update_limits(freshness);
}

void freshness_done(struct freshness *freshness)
{
    free(freshness->keys);
    freshness->keys = NULL;
}

bool freshness_watch_keys(struct freshness *freshness)
{
    if (freshness->keys)
        return true;
    freshness->keys = malloc(sizeof *freshness->keys);
    if (freshness->keys)
        watermarks_init(freshness->keys);
    return freshness->keys != NULL;
}

void freshness_set_policy(struct freshness *freshness, const struct freshness_policy *policy)
{
    freshness->policy = *policy;
    update_limits(freshness);
}

bool freshness_feed_confirmed(struct freshness *freshness, int64_t sent_us)
{
    if (sent_us < freshness->inputs.jumped_us)
        return false;
    freshness->inputs.confirmed_us = sent_us;
    update_limits(freshness);
    return true;
}

void freshness_feed_tells_all(struct freshness *freshness, bool all)
{
    freshness->inputs.notified = all;
    update_limits(freshness);
}

void freshness_changes_may_be_missing(struct freshness *freshness, int64_t at_us)
{
    freshness->inputs.watermark_us = later(freshness->inputs.watermark_us, at_us);
    update_limits(freshness);
}

void freshness_everything_changed(struct freshness *freshness, int64_t at_us)
{
    freshness->inputs.known_watermark_us = later(freshness->inputs.known_watermark_us, at_us);
    freshness_changes_may_be_missing(freshness, at_us);
}

void freshness_key_changed(struct freshness *freshness, const struct digest *digest, int64_t at_us)
{
    if (freshness->keys)
        watermarks_raise(freshness->keys, digest, at_us);
}

bool freshness_lookups_elsewhere(struct freshness *freshness)
{
    bool news = !freshness->inputs.elsewhere;

    freshness->inputs.elsewhere = true;
    update_limits(freshness);
    return news;
}

void freshness_lookups_agree(struct freshness *freshness, int64_t at_us)
{
    if (!freshness->inputs.elsewhere)
        return;
    freshness->inputs.elsewhere = false;
    freshness_everything_changed(freshness, at_us);
}

void freshness_lookups_down(struct freshness *freshness, bool down)
{
    freshness->inputs.lookups_down = down;
}

static void jump(struct freshness_inputs *inputs, int64_t at_us, int64_t jump_us)
{
    if (inputs->jumped_us >= at_us)
        return;
    if (inputs->confirmed_us < at_us)
        inputs->confirmed_us = TIME_NEVER;
    inputs->watermark_us = later(inputs->watermark_us, at_us);
    inputs->jumped_us = at_us;
    inputs->lost_us += later(jump_us, 0);
    /* The monotonic clock may have stood still. It does not run ahead. */
    if (jump_us > 0 && inputs->reading.at_us < at_us)
        inputs->reading.known = false;
}

void freshness_clocks_jumped(struct freshness *freshness, int64_t at_us, int64_t jump_us)
{
    jump(&freshness->inputs, at_us, jump_us);
    update_limits(freshness);
}

bool freshness_clock_read(struct freshness *freshness, int64_t sent_us, int64_t received_us,
                          int64_t server_us)
{
    struct freshness_inputs *inputs = &freshness->inputs;

    if (sent_us < inputs->jumped_us && received_us > inputs->jumped_us)
        return false; /* the clock may have stood still in between */
    bool news = pg_reading_sample(&inputs->reading, sent_us, received_us, server_us);
    update_limits(freshness);
    return news;
}

void freshness_follow(struct freshness *freshness, const struct freshness_inputs *inputs)
{
    int64_t jumped_us = freshness->inputs.jumped_us;
    int64_t lost_us = freshness->inputs.lost_us - inputs->lost_us;

    freshness->inputs = *inputs;
    jump(&freshness->inputs, jumped_us, lost_us);
    update_limits(freshness);
}

/* The latest change that any of the key's digests announced, or TIME_NEVER. */
static int64_t key_watermark(const struct freshness *freshness, const struct digests *digests)
{
    int64_t latest_us = TIME_NEVER;

    for (size_t i = 0; freshness->keys && i < digests->len; i++)
        latest_us = later(latest_us, watermarks_get(freshness->keys, &digests->of[i]));
    return latest_us;
}

int64_t freshness_watermark(const struct freshness *freshness, const struct digests *digests)
{
    return later(key_watermark(freshness, digests), freshness->inputs.watermark_us);
}

bool freshness_outdated(const struct freshness *freshness, const struct digests *digests,
                        int64_t read_at_us)
{
    return read_at_us < key_watermark(freshness, digests);
}

enum freshness_use freshness_of(const struct freshness *freshness, const struct digests *digests,
                                enum verdict_kind kind, int64_t read_at_us)
{
    const struct freshness_limits *limits = &freshness->limits;

    if (digests && freshness_outdated(freshness, digests, read_at_us))
        return USE_NEVER;
    if (freshness_is_fresh(limits, kind, read_at_us))
        return USE_NOW;
    if (read_at_us >= limits->oldest_at_soft_timeout_us)
        return USE_IF_SLOW;
    return read_at_us >= limits->oldest_stale_us ? USE_IF_DOWN : USE_NEVER;
}

bool freshness_confirmed_since(const struct freshness *freshness, int64_t since_us)
{
    return freshness->inputs.confirmed_us >= since_us;
}
