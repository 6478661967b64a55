/* SPDX-License-Identifier: MIT */
#include "apikeyd/resolver.h"

#include <stdlib.h>

#include "apikeyd/clock.h"
#include "apikeyd/explain.h"
#include "apikeyd/pg_clock.h"
#include "apikeyd/redis_tier.h"
#include "lookup.h"
#include "pg_lanes.h"

enum { REDIS_BATCH = 1000 }; /* keys in one MGET at most: a bounded piece of work for both sides */

struct redis_batch {
    struct resolver *resolver;
    struct lookup_list lookups; /* whose findings are to come, in order */
};

struct resolver {
    struct back_env *env;
    struct redis_tier *redis;
    struct pg_lanes *postgres;
    struct pg_clock clock;
    struct digest_map in_flight;
    struct lookup_list for_redis;
    bool duplicates_said; /* in the log */
    pending_usage *pending;
    void *pending_arg;
};

static struct trust trust_now(const struct resolver *resolver)
{
    struct trust_policy policy = config_trust_policy(resolver->env->config);

    /* Changes are not notified in this version: the link is never up. */
    return trust_at(&policy, false, TIME_NEVER, clock_monotonic_us());
}

/* How long a verdict just read may be believed by whoever finds it in Redis. */
static int64_t ttl_us(const struct resolver *resolver)
{
    struct trust trust = trust_now(resolver);

    return trust.now_us - trust.oldest_us;
}

static void lookup_free(struct resolver *resolver, struct lookup *lookup)
{
    if (lookup->explanation)
        free(lookup->explanation);
    else
        digest_map_remove(&resolver->in_flight, &lookup->node);
    explicit_bzero(&lookup->request, sizeof lookup->request);
    free(lookup);
}

static void answer_explain(struct resolver *resolver, struct lookup *lookup,
                           const struct verdict *verdict, const char *why)
{
    struct explanation *explanation = lookup->explanation;
    struct buffer reply;
    int64_t pending_us;

    explanation->trust = trust_now(resolver);
    explanation->wall_us = clock_wall_us();
    explanation->asked = verdict->kind != VERDICT_UNAVAILABLE;
    explanation->in_postgres = *verdict;
    explanation->why_not = why;
    explanation->redis_believed = explanation->in_redis.read_at_us >= explanation->trust.oldest_us;
    explanation->floor_us = redis_tier_floor_us(resolver->redis);
    explanation->pending_last_used_us = explanation->memory.pending_last_used_us;
    pending_us = resolver->pending(resolver->pending_arg, &verdict->api_key_id);
    if (pending_us > explanation->pending_last_used_us)
        explanation->pending_last_used_us = pending_us;
    reply = explain_reply(explanation);
    back_env_reply(resolver->env, lookup->hole, &reply);
}

/* The lookup, in no list any more, is answered and gone. */
static void answer(struct resolver *resolver, struct lookup *lookup, const struct verdict *verdict,
                   enum tier tier, const char *why)
{
    if (lookup->explanation)
        answer_explain(resolver, lookup, verdict, why);
    else
        back_env_post(resolver->env, &(struct to_front){
                                         .type = TO_FRONT_VERDICT,
                                         .answer = {lookup->request.digest, *verdict, tier, why},
                                     });
    lookup_free(resolver, lookup);
}

/* PostgreSQL cannot tell. A verdict that Redis held goes along, for the front to serve stale if
 * its age allows that. */
static void answer_unavailable(struct resolver *resolver, struct lookup *lookup, const char *why)
{
    static const struct verdict unavailable = {.kind = VERDICT_UNAVAILABLE};

    if (lookup->old.kind != VERDICT_UNAVAILABLE && !lookup->explanation && !lookup->dirty)
        back_env_post(resolver->env,
                      &(struct to_front){
                          .type = TO_FRONT_STALE,
                          .answer = {lookup->request.digest, lookup->old, TIER_STALE, NULL},
                      });
    answer(resolver, lookup, &unavailable, TIER_NONE, why);
}

static void on_failed(void *arg, struct lookup *lookup, const char *why)
{
    answer_unavailable(arg, lookup, why);
}

static void on_answered(void *arg, struct lookup *lookup, const struct verdict *verdict,
                        int64_t server_read_us)
{
    struct resolver *resolver = arg;

    /* The tombstone that a change leaves keeps NX fills out; a dirty read is thrown away too. */
    if (lookup->dirty) {
        lookup->dirty = false;
        pg_lanes_add(resolver->postgres, lookup);
        return;
    }
    if (verdict->rows > 1 && !resolver->duplicates_said) {
        char fingerprint[FINGERPRINT_SIZE];

        digest_fingerprint(&lookup->request.digest, fingerprint);
        log_warning(&resolver->env->log,
                    "%s: %u rows share this key ID (said once; see duplicate_key_ids in INFO)",
                    fingerprint, verdict->rows);
        resolver->duplicates_said = true;
    }
    if (!lookup->explanation)
        redis_tier_fill(resolver->redis, &lookup->request.digest, verdict, server_read_us,
                        ttl_us(resolver));
    answer(resolver, lookup, verdict, TIER_POSTGRES, NULL);
}

static void on_finding(void *arg, enum redis_finding finding, const struct verdict *verdict)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;
    struct lookup *lookup = lookup_list_take(&batch->lookups);
    struct trust trust = trust_now(resolver);

    if (lookup->explanation) {
        lookup->explanation->redis = finding;
        if (verdict)
            lookup->explanation->in_redis = *verdict;
        pg_lanes_add(resolver->postgres, lookup);
        return;
    }
    if (verdict && !lookup->dirty)
        lookup->old = *verdict;
    if (verdict && !lookup->dirty && verdict->read_at_us >= trust.oldest_us) {
        resolver->env->counters.value[COUNT_REDIS_HITS]++;
        answer(resolver, lookup, verdict, TIER_REDIS, NULL);
        return;
    }
    lookup->dirty = false;
    pg_lanes_add(resolver->postgres, lookup);
}

static void on_findings(void *arg)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;

    free(batch);
    pg_lanes_go(resolver->postgres);
}

/* Send up to REDIS_BATCH of the waiting lookups to Redis. */
static void read_redis(struct resolver *resolver)
{
    struct redis_batch *batch = malloc(sizeof *batch);
    struct digest digests[REDIS_BATCH];
    struct lookup *lookup;
    size_t len = 0;

    if (!batch)
        abort();
    batch->resolver = resolver;
    TAILQ_INIT(&batch->lookups);
    while (len < REDIS_BATCH && (lookup = lookup_list_take(&resolver->for_redis))) {
        TAILQ_INSERT_TAIL(&batch->lookups, lookup, in_list);
        digests[len++] = lookup->request.digest;
    }
    redis_tier_read(resolver->redis, digests, len,
                    (struct redis_read){on_finding, on_findings, batch});
}

void resolver_add(struct resolver *resolver, const struct to_back *message)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);

    if (!lookup)
        abort();
    lookup->request = message->lookup;
    if (message->type == TO_BACK_EXPLAIN) {
        lookup->explanation = calloc(1, sizeof *lookup->explanation);
        if (!lookup->explanation)
            abort();
        lookup->explanation->digest = message->lookup.digest;
        lookup->explanation->memory = message->explain;
        lookup->hole = message->hole;
    } else {
        lookup->node.digest = message->lookup.digest;
        digest_map_add(&resolver->in_flight, &lookup->node);
    }
    if (!lookup->request.refresh && (lookup->explanation || redis_tier_usable(resolver->redis)))
        TAILQ_INSERT_TAIL(&resolver->for_redis, lookup, in_list);
    else
        pg_lanes_add(resolver->postgres, lookup);
}

void resolver_go(struct resolver *resolver)
{
    while (!TAILQ_EMPTY(&resolver->for_redis))
        read_redis(resolver);
    pg_lanes_go(resolver->postgres);
}

/* Neither what is being read for it nor what Redis held may be believed any more. */
static void mark_dirty(struct lookup *lookup)
{
    lookup->dirty = true;
    lookup->old.kind = VERDICT_UNAVAILABLE;
}

void resolver_invalidate(struct resolver *resolver, const struct digest *digest)
{
    struct lookup *lookup = (struct lookup *)digest_map_find(&resolver->in_flight, digest);

    if (lookup)
        mark_dirty(lookup);
    redis_tier_tombstone(resolver->redis, digest, ttl_us(resolver));
}

void resolver_invalidate_all(struct resolver *resolver)
{
    struct digest_map *map = &resolver->in_flight;

    for (size_t i = 0; i <= map->mask; i++) {
        for (struct digest_node *node = map->bucket[i]; node; node = node->next)
            mark_dirty((struct lookup *)node);
    }
    redis_tier_raise_floor(resolver->redis);
}

size_t resolver_connections_up(const struct resolver *resolver)
{
    return pg_lanes_up(resolver->postgres);
}

struct resolver *resolver_new(struct back_env *env, uint64_t seed, pending_usage *pending,
                              void *pending_arg)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);

    if (!resolver)
        return NULL;
    resolver->env = env;
    resolver->pending = pending;
    resolver->pending_arg = pending_arg;
    TAILQ_INIT(&resolver->for_redis);
    resolver->redis = redis_tier_new(env, &resolver->clock);
    resolver->postgres = pg_lanes_new(&(struct pg_lanes_setup){
        .env = env,
        .clock = &resolver->clock,
        .answered = on_answered,
        .failed = on_failed,
        .arg = resolver,
    });
    if (!resolver->redis || !resolver->postgres ||
        !digest_map_init(&resolver->in_flight, env->config->postgres_max_pending, seed)) {
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    /* Lookups on their way come back with no answer and end as UNAVAILABLE. */
    if (resolver->redis)
        redis_tier_close(resolver->redis);
    pg_lanes_free(resolver->postgres);
    redis_tier_free(resolver->redis);
    digest_map_done(&resolver->in_flight);
    free(resolver);
}
