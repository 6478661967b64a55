/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "apikeyd/clock.h"
#include "front_state.h"

static uint64_t answers_from(const struct front *front, enum tier tier)
{
    const uint64_t *value = front->metrics.value;

    return value[metric_of_check(VERDICT_ALLOW, tier)] +
           value[metric_of_check(VERDICT_DENY_UNKNOWN, tier)] +
           value[metric_of_check(VERDICT_DENY_INACTIVE, tier)];
}

void front_time_read(struct front *front)
{
    uint64_t memory = answers_from(front, TIER_MEMORY) - front->timed[TIER_MEMORY];
    uint64_t stale = answers_from(front, TIER_STALE) - front->timed[TIER_STALE];

    if (memory + stale == 0)
        return;
    int64_t took_us = clock_monotonic_us() - front->trust.now_us;
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_MEMORY], took_us, memory);
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_STALE], took_us, stale);
    front->timed[TIER_MEMORY] += memory;
    front->timed[TIER_STALE] += stale;
}

void front_time_wait(struct front *front, enum tier tier, int64_t asked_us)
{
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_MEMORY + tier],
                     front->trust.now_us - asked_us, 1);
    front->timed[tier]++;
}

struct metrics *front_take_metrics(struct front *front)
{
    struct metrics *metrics = malloc(sizeof *metrics);
    struct verdict_cache_stats cache = verdict_cache_stats(front->cache);
    struct verdict_cache_stats negative = verdict_cache_negative_stats(front->cache);

    if (!metrics)
        return NULL;
    *metrics = front->metrics;
    metrics->value[METRIC_LOOKUPS_PENDING] = front->flights.count;
    metrics->value[METRIC_CACHE_ENTRIES] = cache.used;
    metrics->value[METRIC_CACHE_SLOTS] = cache.slots;
    metrics->value[METRIC_CACHE_BYTES] = cache.slots * sizeof(struct cached_verdict);
    metrics->value[METRIC_CACHE_EVICTIONS] = cache.evictions;
    metrics->value[METRIC_NEGATIVE_ENTRIES] = negative.used;
    metrics->value[METRIC_NEGATIVE_SLOTS] = negative.slots;
    metrics->value[METRIC_NEGATIVE_BYTES] = negative.slots * sizeof(struct cached_verdict);
    metrics->value[METRIC_NEGATIVE_EVICTIONS] = negative.evictions;
    metrics->value[METRIC_CONNECTIONS] = front->clients.count;
    metrics->value[METRIC_CONNECTIONS_MOST] = front->config->listen_max_connections;
    metrics->value[METRIC_USAGE_PENDING] = front->usage->used;
    metrics->value[METRIC_FRONT_CPU] = (uint64_t)clock_read_us(CLOCK_THREAD_CPUTIME_ID);
    return metrics;
}

void front_answer_pulse(struct front *front, uint32_t id)
{
    struct to_back message = {.type = TO_BACK_PULSE,
                              .pulse = {.metrics = front_take_metrics(front), .id = id}};

    if (!mailbox_post_reserved(front->to_back, &message, sizeof message))
        free(message.pulse.metrics);
}
