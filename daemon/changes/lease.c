/* SPDX-License-Identifier: MIT */
#include <apikeyd/changes/lease.h>

#include <stdlib.h>

#include <apikeyd/clock/clock.h>

static const int64_t interval_max_us = 1000000;

struct lease {
    struct lease_setup setup;
    struct back_env *env;
    unsigned up;      /* streams that are up */
    unsigned whole;   /* those among them that have no gap */
    int64_t since_us; /* changes are complete from then on: TIME_NEVER before the first stream … */
    int64_t told_us;  /* … until then, as streams without a gap have told */
    int64_t sent_us;  /* when the last confirmed heartbeat was sent, on any stream */
    struct lease_coverage coverage;
    const char *why; /* no stream is confirmed; or NULL */
};

struct lease *lease_new(const struct lease_setup *setup)
{
    struct lease *lease = calloc(1, sizeof *lease);

    if (!lease)
        return NULL;
    lease->setup = *setup;
    lease->env = setup->env;
    lease->since_us = lease->told_us = TIME_NEVER;
    lease->coverage.gap = "cache.ttl: the change feed has not told which changes it covers";
    return lease;
}

void lease_free(struct lease *lease)
{
    free(lease);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t lease_interval_us(const struct lease *lease)
{
    int64_t part_us = lease->env->config->cache_ttl_unlinked / 4;

    return part_us < interval_max_us ? part_us : interval_max_us;
}

/* Take note whether lookups and the feed lead to one store. When both agree again, verdicts that
 * were read elsewhere cannot be told from others, so all are forgotten, for stale service too. */
bool lease_store(struct lease *lease, const struct store *store)
{
    struct back_env *env = lease->env;

    if (stores_outdated(&env->stores, store)) {
        stores_learn(&env->stores, store);
        return false;
    }
    back_env_store_changed(env, stores_feed(&env->stores, store));
    if (freshness_is_elsewhere(&env->freshness) &&
        lease->setup.lookups_agree(lease->setup.arg, lease->sent_us)) {
        freshness_lookups_agree(&env->freshness, clock_monotonic_us());
        log_info(&env->log, "lookups: answers come from the change feed's store again");
    }
    return true;
}

/* A change cannot be earlier than the last confirmation, which covers all changes committed before
 * it was sent; before the first one nothing is covered. So a transaction that began long before its
 * commit, or a transport with another time, cannot date a change back. */
static int64_t changed_at_us(const struct lease *lease, int64_t at_us)
{
    int64_t now_us = clock_monotonic_us();
    int64_t earliest_us = freshness_confirmed_until(&lease->env->freshness);

    if (lease->up == 0 || at_us == TIME_NEVER)
        return TIME_NEVER;
    if (at_us > now_us)
        return now_us;
    return at_us < earliest_us ? earliest_us : at_us;
}

void lease_changed(struct lease *lease, const struct digest *digest, int64_t at_us)
{
    lease->setup.on_change(lease->setup.arg, digest, changed_at_us(lease, at_us));
}

void lease_missing(struct lease *lease)
{
    freshness_changes_may_be_missing(&lease->env->freshness, clock_monotonic_us());
    back_env_post_freshness(lease->env);
}

static bool confirmed_within(const struct lease *lease, int64_t us)
{
    return freshness_confirmed_since(&lease->env->freshness, clock_monotonic_us() - us);
}

/* Two confirmations may be missed: then a heartbeat is late. */
static bool is_punctual(const struct lease *lease)
{
    return confirmed_within(lease, 2 * lease_interval_us(lease));
}

static bool tells_all_punctually(const struct lease *lease)
{
    return is_punctual(lease) &&
           lease->told_us >= clock_monotonic_us() - 2 * lease_interval_us(lease);
}

static bool is_whole(const struct lease_stream *stream)
{
    return stream->up && !stream->gap;
}

void lease_covers(struct lease *lease, struct lease_stream *stream,
                  const struct lease_coverage *coverage)
{
    bool all = !coverage->gap, told_all = !lease->coverage.gap;

    lease->whole -= is_whole(stream);
    stream->gap = !all;
    lease->whole += is_whole(stream);
    stream->yields = !all && lease->whole > 0 && tells_all_punctually(lease);
    if (stream->yields)
        return;
    lease->coverage = *coverage;
    if (all == told_all)
        return;
    freshness_feed_tells_all(&lease->env->freshness, all);
    lease->env->metrics.value[METRIC_FEED_TRIGGER] = all;
    back_env_post_freshness(lease->env);
}

/* Returns whether what the stream tells goes on where others have ended. Changes committed while
 * there was no stream have not been told: verdicts read before this one began are read again. A
 * stream that has just begun, while another is well and tells all, is not in such need: the other
 * one will be confirmed beyond the beginning. */
static bool goes_on(struct lease *lease, const struct lease_stream *stream)
{
    if (stream->from_us <= later(lease->since_us, lease->told_us))
        return true;
    if (lease->whole > is_whole(stream) && tells_all_punctually(lease))
        return false;
    freshness_changes_may_be_missing(&lease->env->freshness, stream->from_us);
    lease->since_us = stream->from_us;
    return true;
}

bool lease_confirmed(struct lease *lease, struct lease_stream *stream, int64_t sent_us)
{
    struct freshness *freshness = &lease->env->freshness;

    if (stream->yields) {
        lease->up -= stream->up;
        stream->up = false;
        return true;
    }
    if (!stream->up) {
        stream->up = true;
        stream->from_us = clock_monotonic_us();
        lease->up++;
        lease->whole += is_whole(stream);
    }
    if (!goes_on(lease, stream))
        return true;
    if (!stream->gap)
        lease->told_us = later(lease->told_us, sent_us);
    lease->sent_us = later(lease->sent_us, sent_us);
    bool confirmed =
        freshness_feed_confirmed(freshness, later(freshness_confirmed_until(freshness), sent_us));
    back_env_post_freshness(lease->env);
    return confirmed;
}

void lease_down(struct lease *lease, struct lease_stream *stream)
{
    lease->up -= stream->up;
    lease->whole -= is_whole(stream);
    if (lease->up == 0) {
        stores_feed_lost(&lease->env->stores);
        lease->env->metrics.value[METRIC_FEED_LOSSES] += stream->up;
    }
    *stream = (struct lease_stream){0};
}

void lease_explain(struct lease *lease, const char *why)
{
    lease->why = why;
}

bool lease_up(const struct lease *lease)
{
    return lease->up > 0 && confirmed_within(lease, lease->env->config->cache_ttl_unlinked);
}

struct bound lease_bound(const struct lease *lease)
{
    const struct config *config = lease->env->config;
    const struct lease_coverage *coverage = &lease->coverage;

    if (!lease_up(lease))
        return (struct bound){config->cache_ttl_unlinked,
                              lease->why ? lease->why
                                         : "cache.ttl_unlinked: the change feed is down"};
    if (freshness_is_elsewhere(&lease->env->freshness))
        return (struct bound){
            config->cache_ttl_unlinked,
            "cache.ttl_unlinked: lookups are not answered where the change feed listens"};
    if (coverage->gap)
        return (struct bound){config->cache_ttl, coverage->gap};
    if (!is_punctual(lease))
        return (struct bound){config->cache_ttl_unlinked,
                              "cache.ttl_unlinked: a heartbeat is late"};
    if (coverage->delay)
        return (struct bound){coverage->delay_us, coverage->delay};
    return (struct bound){0, "notification"};
}
