/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <unistd.h>

#include <apikeyd/auth/front_state.h>
#include <apikeyd/clock/clock.h>

void front_time_read(struct front *front)
{
    uint64_t memory = front->answered[TIER_MEMORY] - front->timed[TIER_MEMORY];
    uint64_t stale = front->answered[TIER_STALE] - front->timed[TIER_STALE];

    if (memory + stale == 0)
        return;
    int64_t took_us = clock_monotonic_us() - front->now_us;
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_MEMORY], took_us, memory);
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_STALE], took_us, stale);
    front->timed[TIER_MEMORY] += memory;
    front->timed[TIER_STALE] += stale;
}

void front_time_wait(struct front *front, enum tier tier, int64_t asked_us)
{
    histogram_record(&front->metrics.histogram[HISTOGRAM_CHECK_MEMORY + (int)tier],
                     front->now_us - asked_us, 1);
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
    metrics->value[METRIC_CACHE_BYTES] = cache.bytes;
    metrics->value[METRIC_CACHE_EVICTIONS] = cache.evictions;
    metrics->value[METRIC_ATTRIBUTE_BYTES] = cache.attribute_bytes;
    metrics->value[METRIC_ATTRIBUTE_USED] = cache.attribute_used;
    metrics->value[METRIC_ATTRIBUTE_EVICTIONS] = cache.attribute_evictions;
    metrics->value[METRIC_NEGATIVE_ENTRIES] = negative.used;
    metrics->value[METRIC_NEGATIVE_SLOTS] = negative.slots;
    metrics->value[METRIC_NEGATIVE_BYTES] = negative.bytes;
    metrics->value[METRIC_NEGATIVE_EVICTIONS] = negative.evictions;
    metrics->value[METRIC_QUOTA_EVICTIONS] =
        front->quotas ? quota_book_evictions(front->quotas) : 0;
    metrics->value[METRIC_CONNECTIONS] = front->clients.count;
    metrics->value[METRIC_CONNECTIONS_MAX] = front->config->listen_max_connections;
    metrics->value[METRIC_USAGE_PENDING] = front->usage->used - front->usage->kept;
    metrics->value[METRIC_FRONT_CPU] = (uint64_t)clock_read_us(CLOCK_THREAD_CPUTIME_ID);
    return metrics;
}

/* The bound on a revocation while the back thread stands still: hits continue until the lease ends,
 * then verdicts are served stale. */
static const char *bound_in_silence(const struct front *front)
{
    const struct config *config = front->config;
    const char *name = "cache.ttl_unlinked";
    int64_t bound_us = config->cache_ttl_unlinked;

    if (freshness_linked(&front->freshness) && !freshness_hears_all(&front->freshness) &&
        config->cache_ttl > bound_us) {
        name = "cache.ttl";
        bound_us = config->cache_ttl;
    }
    return config->cache_stale_max > bound_us ? "cache.stale_max" : name;
}

void front_print_info(const struct front *front, struct metrics *metrics, struct slice section,
                      struct buffer *out)
{
    static const char *const own[] = {"Checks", "Cache", "Clients"};

    metrics_sum(metrics);
    if (section.len == 0 || slice_is(section, "server"))
        buffer_printf(out,
                      "# Server\r\n"
                      "apikeyd_version:%s\r\n"
                      "process_id:%ld\r\n"
                      "loading:0\r\n"
                      "revocation_bound:%s: the back thread does not answer\r\n"
                      "back_thread_silent_seconds:%u\r\n",
                      APIKEYD_VERSION, (long)getpid(), bound_in_silence(front), front->quiet_s);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (section.len == 0 || slice_is(section, own[i]))
            metrics_print_info(metrics, own[i], out);
    }
}

void front_answer_stats_poll(struct front *front, uint32_t id)
{
    struct to_back message = {.type = TO_BACK_STATS,
                              .stats = {.metrics = front_take_metrics(front), .id = id}};

    if (!mailbox_post_reserved(front->to_back, &message, sizeof message))
        free(message.stats.metrics);
}
