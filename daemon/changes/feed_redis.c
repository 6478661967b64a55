/* SPDX-License-Identifier: MIT */
#include <apikeyd/changes/feed_redis.h>

#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/changes/lease.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/redis/redis_stream.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/wire/feed_entry.h>

#include "feed_name.h"
#include "lanes.h"

enum { TICKS_LOGGED = 3 };

/* Why the last confirmation did not count. */
enum ignored { NOT_IGNORED, IS_LATE, IS_ELSEWHERE, IS_UNDATED };

struct feed_redis {
    struct feed_redis_setup setup;
    struct back_env *env;
    struct lease *lease;
    struct redis_stream *stream;
    struct schema_inspection expected;
    unsigned key_scheme; /* of the columns that it names */
    bool following;
    char name_text[FEED_NAME_SIZE];
    struct slice name;
    int64_t before_home_us; /* the last sample of the clock of the server before */
    struct lanes lanes;
    struct event tick;
    int64_t heard_us; /* the last valid entry of any relay; or TIME_NEVER */
    bool forged;      /* the last entry had no valid tag */
    enum ignored ignored;
    const char *why; /* no relay confirms the feed; NULL: one does */
    unsigned ticks;  /* that `why` has lasted */
    bool up_logged, forged_logged, bad_logged;
};

static const char *const why_not[] = {
    [NOT_IGNORED] = "cache.ttl_unlinked: relays have not confirmed yet what they tell",
    [IS_LATE] = "cache.ttl_unlinked: what relays confirm comes too late by Redis",
    [IS_ELSEWHERE] = "cache.ttl_unlinked: relays listen to another server than the one that "
                     "answers lookups",
    [IS_UNDATED] = "cache.ttl_unlinked: PostgreSQL's clock is not known well enough to date what "
                   "relays confirm",
};

static bool heard_within(const struct feed_redis *feed, int64_t us)
{
    return feed->heard_us != TIME_NEVER && clock_monotonic_us() - feed->heard_us < us;
}

/* Why no relay confirms the feed, as a bound. */
static const char *why_down(const struct feed_redis *feed)
{
    if (!redis_stream_usable(feed->stream))
        return "cache.ttl_unlinked: Redis, by which changes come, is not in use";
    if (!feed->following)
        return "cache.ttl_unlinked: no lookup has been answered, so it is not known whose changes "
               "to follow";
    if (feed->forged)
        return "cache.ttl_unlinked: entries in Redis have no valid tag: relays need the same "
               "redis.secret_file";
    if (!heard_within(feed, feed->env->config->cache_ttl_unlinked))
        return "cache.ttl_unlinked: no relay is heard through Redis; some daemon needs feed.relay "
               "= yes, with the same table, columns and redis.prefix";
    return why_not[feed->ignored];
}

static bool is_up(const struct lane *lane)
{
    return lane->stream.up || lane->stream.yields;
}

static void lane_down(struct feed_redis *feed, struct lane *lane)
{
    if (is_up(lane))
        lease_down(feed->lease, &lane->stream);
}

static void all_down(struct feed_redis *feed)
{
    for (int i = 0; i < LANES_MAX; i++)
        lane_down(feed, &feed->lanes.lane[i]);
}

/* A relay listens to a server on a later timeline, so the one that answers lookups was the primary
 * before a failover: its answers must not be used any more. Without a secret anyone may have said
 * so, and would take PostgreSQL away from this daemon. */
static void learn_later(struct feed_redis *feed, const struct feed_entry *entry)
{
    struct stores *stores = &feed->env->stores;

    if (entry->timeline <= stores->home.timeline || feed->env->redis_secret.len == 0)
        return;
    for (size_t i = 0; i < stores->count; i++) {
        struct store store = stores->known[i];

        if (!store_id_equal(&store.id, &stores->home))
            continue;
        store.id.timeline = entry->timeline;
        store.id.started_us = store.mark.started_us = entry->started_us;
        stores_learn(stores, &store);
        return;
    }
}

/* Set *ret to the store that the entry is about, which is where lookups are answered. */
static bool find_store(struct feed_redis *feed, const struct feed_entry *entry, struct store *ret)
{
    const struct stores *stores = &feed->env->stores;

    if (entry->timeline != stores->home.timeline || entry->started_us != stores->home.started_us) {
        learn_later(feed, entry);
        return false;
    }
    /* In `both`, the other feed's store. */
    if (stores->has_feed && !store_id_equal(&stores->feed.id, &stores->home))
        return false;
    for (size_t i = 0; i < stores->count; i++) {
        if (store_id_equal(&stores->known[i].id, &stores->home)) {
            *ret = stores->known[i];
            return true;
        }
    }
    return false;
}

/* When this host's clock read what it did as PostgreSQL's clock read the entry's time, at the
 * earliest. PostgreSQL's clock has to be known from this server, and from after a jump. */
static bool date(const struct feed_redis *feed, const struct feed_entry *entry, int64_t *ret_us)
{
    const struct pg_clock *clock = &feed->env->clock;

    return clock->sampled_us > feed->before_home_us &&
           clock->sampled_us > feed->env->freshness.inputs.jumped_us &&
           pg_clock_to_monotonic(clock, entry->server_us, clock_monotonic_us(), ret_us);
}

static struct lease_coverage coverage_of(const struct feed_entry *entry)
{
    return (struct lease_coverage){
        .gap = entry->gap ? "cache.ttl: the relay does not hear of every change; its own "
                            "revocation_bound says why"
                          : NULL,
        .delay = entry->delay_us > 0 ? "notification: late, as the relay says; its own "
                                       "revocation_bound says why"
                                     : NULL,
        .delay_us = entry->delay_us,
    };
}

/* Returns why the confirmation does not count. */
static enum ignored confirm(struct feed_redis *feed, struct lane *lane,
                            const struct feed_entry *entry)
{
    struct lease_coverage coverage = coverage_of(entry);
    int64_t now_us = clock_monotonic_us();
    struct store store;
    int64_t until_us;

    if (!find_store(feed, entry, &store))
        return IS_ELSEWHERE;
    if (!date(feed, entry, &until_us))
        return IS_UNDATED;
    if (until_us < now_us - feed->env->config->cache_ttl_unlinked)
        return IS_LATE;
    if (!lease_store(feed->lease, &store))
        return IS_ELSEWHERE;
    lease_covers(feed->lease, &lane->stream, &coverage);
    if (!lease_confirmed(feed->lease, &lane->stream, until_us))
        return IS_UNDATED;
    lane->heard_us = now_us;
    return NOT_IGNORED;
}

static void change(struct feed_redis *feed, const struct feed_entry *entry)
{
    int64_t at_us;

    if (entry->server_us == 0 || !pg_clock_estimate(&feed->env->clock, entry->server_us, &at_us))
        at_us = TIME_NEVER;
    lease_changed(feed->lease, entry->kind == FEED_ENTRY_KEY ? &entry->digest : NULL, at_us);
}

static void take(struct feed_redis *feed, const struct feed_entry *entry)
{
    struct lane *lane = lanes_find(&feed->lanes, entry->relay);
    enum lane_step step = lane ? lane_take(lane, entry) : LANE_OLD;

    if (step == LANE_OLD)
        return;
    feed->heard_us = clock_monotonic_us();
    if (step == LANE_GAP) {
        feed->env->metrics.value[METRIC_FEED_GAPS]++;
        log_debug(&feed->env->log, "change feed: entries of relay %016llx are missing in Redis",
                  (unsigned long long)entry->relay);
    }
    if (step != LANE_NEXT)
        lane_down(feed, lane);
    switch (entry->kind) {
    case FEED_ENTRY_KEY:
    case FEED_ENTRY_ALL:
        change(feed, entry);
        break;
    case FEED_ENTRY_MISSING:
        lease_missing(feed->lease);
        break;
    case FEED_ENTRY_CONFIRMED:
        feed->ignored = confirm(feed, lane, entry);
        break;
    }
}

static void log_fault(struct feed_redis *feed, enum feed_entry_fault fault)
{
    const struct log *log = &feed->env->log;

    if (fault == FEED_ENTRY_FORGED && !feed->forged_logged)
        log_warning(log, "change feed: ignoring an entry in Redis without a valid tag: relays and "
                         "sidecars need the same redis.secret_file (logged once)");
    else if (fault == FEED_ENTRY_BROKEN && !feed->bad_logged)
        log_warning(log, "change feed: ignoring a malformed entry in Redis (logged once)");
    feed->forged_logged = feed->forged_logged || fault == FEED_ENTRY_FORGED;
    feed->bad_logged = feed->bad_logged || fault == FEED_ENTRY_BROKEN;
}

static void on_entry(void *arg, struct slice text)
{
    struct feed_redis *feed = arg;
    uint64_t *value = feed->env->metrics.value;
    struct feed_entry entry;
    enum feed_entry_fault fault =
        feed_entry_decode(feed->name, text, feed->env->redis_secret, &entry);

    value[METRIC_FEED_ENTRIES]++;
    feed->forged = fault == FEED_ENTRY_FORGED;
    if (fault == FEED_ENTRY_FINE) {
        take(feed, &entry);
        return;
    }
    value[METRIC_FEED_ENTRIES_BAD]++;
    log_fault(feed, fault);
}

/* At the start, and after a change of primaries, the first confirmation takes its time: only a
 * reason that lasts is logged. */
static void log_state(struct feed_redis *feed, const char *why)
{
    const struct log *log = &feed->env->log;

    feed->ticks = why == feed->why ? feed->ticks + 1 : 1;
    feed->why = why;
    if (!why && !feed->up_logged)
        log_info(log, "the change feed is up: relays tell of changes through Redis");
    if (why && feed->ticks == TICKS_LOGGED)
        log_warning(log, "change feed: %s", why);
    feed->up_logged = !why || (feed->up_logged && feed->ticks < TICKS_LOGGED);
}

/* Lanes that are silent for longer than a confirmation holds are given up. */
static bool drop_silent(struct feed_redis *feed)
{
    int64_t now_us = clock_monotonic_us();
    unsigned up = 0;

    for (int i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &feed->lanes.lane[i];

        if (is_up(lane) && now_us - lane->heard_us > feed->env->config->cache_ttl_unlinked)
            lane_down(feed, lane);
        up += is_up(lane);
    }
    feed->env->metrics.value[METRIC_FEED_RELAYS] = up;
    return up > 0;
}

/* The bounds on PostgreSQL's clock widen by an eighth of the time since it was read last. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct feed_redis *feed = arg;
    const char *why = drop_silent(feed) ? NULL : why_down(feed);
    int64_t unread_us = clock_monotonic_us() - feed->env->clock.sampled_us;

    (void)fd;
    (void)what;
    lease_explain(feed->lease, why);
    log_state(feed, why);
    timer_start(&feed->tick, lease_interval_us(feed->lease));
    if (!feed->env->clock.known || unread_us > feed->env->config->cache_ttl_unlinked / 8)
        feed->setup.on_clock_due(feed->setup.arg);
}

/* Follow the stream of the server that answers lookups. */
static void follow(struct feed_redis *feed)
{
    const struct stores *stores = &feed->env->stores;
    char text[FEED_NAME_SIZE];

    if (!stores->has_home)
        return;
    struct slice name = feed_name(feed->env->config, &feed->expected, &stores->home, text);
    if (feed->following && slice_equal(name, feed->name))
        return;
    all_down(feed);
    feed->lanes = (struct lanes){0};
    memcpy(feed->name_text, text, sizeof text);
    feed->name = (struct slice){feed->name_text, name.len};
    feed->following = true;
    feed->heard_us = TIME_NEVER;
    redis_stream_follow(feed->stream, feed->name);
}

/* What lanes have confirmed is about another server. */
void feed_redis_home_changed(struct feed_redis *feed)
{
    if (!feed)
        return;
    feed->before_home_us = feed->env->clock.sampled_us;
    all_down(feed);
    follow(feed);
}

/* Other key columns have another stream. */
void feed_redis_configure(struct feed_redis *feed)
{
    if (!feed || feed->key_scheme == feed->env->key_scheme)
        return;
    feed->key_scheme = feed->env->key_scheme;
    schema_inspection_done(&feed->expected);
    schema_inspection_init(&feed->expected, feed->env->config);
    follow(feed);
}

struct feed_redis *feed_redis_new(const struct feed_redis_setup *setup)
{
    struct feed_redis *feed = calloc(1, sizeof *feed);

    if (!feed)
        return NULL;
    feed->setup = *setup;
    feed->env = setup->env;
    feed->lease = setup->lease;
    feed->heard_us = TIME_NEVER;
    feed->key_scheme = feed->env->key_scheme;
    schema_inspection_init(&feed->expected, feed->env->config);
    event_assign(&feed->tick, feed->env->base, -1, 0, on_tick, feed);
    feed->stream = redis_stream_new(
        &(struct redis_stream_setup){.env = setup->env, .on_entry = on_entry, .arg = feed});
    if (!feed->stream) {
        feed_redis_free(feed);
        return NULL;
    }
    timer_start(&feed->tick, lease_interval_us(feed->lease));
    return feed;
}

void feed_redis_free(struct feed_redis *feed)
{
    if (!feed)
        return;
    redis_stream_free(feed->stream);
    event_del(&feed->tick);
    all_down(feed);
    schema_inspection_done(&feed->expected);
    free(feed);
}
