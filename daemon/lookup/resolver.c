/* SPDX-License-Identifier: MIT */
#include <apikeyd/lookup/resolver.h>

#include <stdlib.h>

#include <apikeyd/base/out_of_memory.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/redis/redis_tier.h>

#include "explain.h"
#include "lookup.h"
#include "pg_pool.h"

enum { REDIS_BATCH = 1000 }; /* keys in one MGET at most: a bounded piece of work for both sides */

struct redis_batch {
    struct resolver *resolver;
    struct lookup_list lookups; /* lookups that wait for their findings, in order */
    size_t next;                /* the digest of the first one whose finding is next */
};

struct resolver {
    struct resolver_setup setup;
    struct back_env *env;
    struct redis_tier *redis;
    struct pg_pool *postgres;
    struct lookup_list for_redis;
    bool shared;          /* the current answers may be filled into Redis */
    int64_t elsewhere_us; /* when another store than the feed's last answered; or TIME_NEVER */
    bool elsewhere_logged;
    int64_t newest_in_memory_us, newest_in_redis_us; /* read times, or TIME_NEVER */
    struct store_id redis_store;                     /* the store of the latter */
    bool failing;                                    /* the last lookup got no usable answer */
    bool duplicates_logged, empty_window_logged;     /* in the log */
};

static bool changed_since(const struct resolver *resolver, const struct lookup *lookup,
                          const struct verdict *verdict)
{
    return freshness_outdated(&resolver->env->freshness, &lookup->names.digests,
                              verdict->read_at_us);
}

/* Returns the best use of the lookup's verdict, as of the last tick. Of none, if the verdict
 * depends on PostgreSQL's clock and that is not known. */
static enum freshness_use use_of(const struct resolver *resolver, const struct lookup *lookup,
                                 const struct verdict *verdict)
{
    const struct freshness_limits *limits = &resolver->env->freshness.limits;

    if (freshness_kind(limits, verdict->kind, &verdict->window) == VERDICT_UNAVAILABLE)
        return USE_NEVER;
    return freshness_of(&resolver->env->freshness, &lookup->names.digests, verdict->kind,
                        verdict->read_at_us);
}

static void lookup_free(struct lookup *lookup)
{
    attributes_free(&lookup->old.attributes);
    if (lookup->explanation) {
        attributes_free(&lookup->explanation->memory.verdict.attributes);
        attributes_free(&lookup->explanation->in_redis.attributes);
    }
    free(lookup->explanation);
    explicit_bzero(lookup->request.key, sizeof lookup->request.key);
    free(lookup);
}

static void answer_explain(struct resolver *resolver, struct lookup *lookup,
                           const struct verdict *verdict, const char *why)
{
    struct freshness *freshness = &resolver->env->freshness;
    struct explanation *explanation = lookup->explanation;
    struct buffer reply;
    int64_t pending_us;

    freshness_tick(freshness, clock_monotonic_us());
    explanation->limits = freshness->limits;
    explanation->wall_us = clock_wall_us();
    explanation->asked = verdict->kind != VERDICT_UNAVAILABLE;
    explanation->in_postgres = *verdict;
    explanation->why_not = why;
    explanation->columns = &resolver->env->config->postgres_attribute_columns;
    explanation->redis_use = use_of(resolver, lookup, &explanation->in_redis);
    explanation->watermark_us = freshness_watermark(freshness, &lookup->names.digests);
    if (lookup->finding.broken)
        explanation->memory.use = USE_NEVER; /* on_failed() has made the front forget it */
    explanation->has_store = resolver->env->stores.has_current;
    explanation->store = resolver->env->stores.current;
    explanation->postgres_down = freshness_no_lookups(freshness);
    explanation->pending_last_used_us = explanation->memory.pending_last_used_us;
    pending_us = resolver->setup.pending(resolver->setup.arg, &verdict->api_key_id);
    if (pending_us > explanation->pending_last_used_us)
        explanation->pending_last_used_us = pending_us;
    reply = explain_reply(explanation);
    back_env_reply(resolver->env, lookup->ask, &reply);
}

static void note_in_memory(struct resolver *resolver, const struct verdict *verdict)
{
    if (verdict_has_row(verdict) &&
        !freshness_read_since(resolver->newest_in_memory_us, verdict->read_at_us))
        resolver->newest_in_memory_us = verdict->read_at_us;
}

static void note_in_redis(struct resolver *resolver, const struct verdict *verdict)
{
    const struct store_id *store = &resolver->env->stores.current;

    if (!verdict_has_row(verdict) ||
        freshness_read_since(resolver_newest_in_redis(resolver), verdict->read_at_us))
        return;
    resolver->newest_in_redis_us = verdict->read_at_us;
    resolver->redis_store = *store;
}

/* Send a verdict to the front thread. The message has its attributes for its own. */
static void post_answer(struct resolver *resolver, const struct lookup *lookup,
                        enum to_front_type type, const struct verdict *verdict, enum tier tier,
                        const char *why)
{
    struct to_front message = {
        .type = type,
        .answer = {lookup->request.digest, *verdict, tier, why, lookup->request.key_scheme},
    };

    message.answer.verdict.attributes = attributes_copy(verdict->attributes);
    if (!back_env_post(resolver->env, &message))
        attributes_free(&message.answer.verdict.attributes);
}

/* Answer and free the lookup, which is in no list any more. */
static void answer(struct resolver *resolver, struct lookup *lookup, const struct verdict *verdict,
                   enum tier tier, const char *why)
{
    bool outdated =
        verdict->kind != VERDICT_UNAVAILABLE && changed_since(resolver, lookup, verdict);

    if (!lookup->explanation && !outdated)
        note_in_memory(resolver, verdict);
    if (lookup->explanation)
        answer_explain(resolver, lookup, verdict, why);
    else
        post_answer(resolver, lookup, outdated ? TO_FRONT_OUTDATED : TO_FRONT_VERDICT, verdict,
                    tier, why);
    lookup_free(lookup);
}

/* PostgreSQL gives no verdict. A verdict that Redis held goes along, for the front to serve stale
 * if its age allows that. */
static void answer_unavailable(struct resolver *resolver, struct lookup *lookup, const char *why)
{
    if (lookup->old.kind != VERDICT_UNAVAILABLE && !changed_since(resolver, lookup, &lookup->old))
        post_answer(resolver, lookup, TO_FRONT_STALE, &lookup->old, TIER_STALE, NULL);
    answer(resolver, lookup, &verdict_unavailable, TIER_NONE, why);
}

/* Forget the key's verdicts that were read before `changed_at_us`, for stale service too. */
static void forget_older(struct resolver *resolver, const struct digest *digest,
                         int64_t changed_at_us)
{
    struct to_front order = {.type = TO_FRONT_TOMBSTONE};

    freshness_key_changed(&resolver->env->freshness, digest, changed_at_us);
    order.invalidate.digest = *digest;
    order.invalidate.changed_at_us = changed_at_us;
    back_env_post(resolver->env, &order);
}

/* A broken row is an answer of PostgreSQL's: earlier verdicts of the key are out of date. */
static void on_failed(void *arg, struct lookup *lookup, const char *why)
{
    struct resolver *resolver = arg;

    if (lookup->finding.broken)
        forget_older(resolver, &lookup->request.digest, lookup->finding.verdict.read_at_us);
    else
        resolver->failing = true;
    answer_unavailable(resolver, lookup, why);
}

static void log_oddities(struct resolver *resolver, const struct lookup *lookup,
                         const struct verdict *verdict)
{
    bool empty = key_window_empty(&verdict->window);
    char fingerprint[FINGERPRINT_SIZE];

    if (verdict->rows <= 1 && !empty)
        return;
    digest_fingerprint(&lookup->request.digest, fingerprint);
    if (verdict->rows > 1 && !resolver->duplicates_logged) {
        log_warning(&resolver->env->log,
                    "%s: %u rows share this key ID (logged once; see duplicate_key_ids in INFO)",
                    fingerprint, verdict->rows);
        resolver->duplicates_logged = true;
    }
    if (empty && !resolver->empty_window_logged) {
        log_warning(&resolver->env->log,
                    "%s: this key ends before it starts, so it is denied (logged once; see "
                    "postgres.not_before_column and expires_column)",
                    fingerprint);
        resolver->empty_window_logged = true;
    }
}

/* Requests from before the SELECT was sent get its result, even if the key has changed since. So a
 * key that changes, or is notified, all the time still gets answers. The front thread repeats the
 * lookup for later requests. */
static void on_answered(void *arg, struct lookup *lookup, const struct verdict *verdict,
                        int64_t server_read_us)
{
    struct resolver *resolver = arg;

    freshness_tick(&resolver->env->freshness, clock_monotonic_us());
    log_oddities(resolver, lookup, verdict);
    if (!lookup->explanation && resolver->shared && server_read_us != 0 &&
        use_of(resolver, lookup, verdict) == USE_NOW) {
        redis_tier_fill(resolver->redis, &lookup->names.digests.of[0], verdict, server_read_us,
                        resolver->env->config->cache_ttl);
        note_in_redis(resolver, verdict);
    }
    answer(resolver, lookup, verdict, TIER_POSTGRES, NULL);
}

/* Called before the answers themselves. The daemon does not hear of changes of another store than
 * the feed's. */
static void on_store(void *arg, const struct store_id *store, bool elsewhere)
{
    struct resolver *resolver = arg;
    struct back_env *env = resolver->env;
    char text[STORE_TEXT_SIZE];

    resolver->shared = !elsewhere;
    resolver->failing = false;
    if (stores_answered(&env->stores, store))
        resolver->setup.on_home(resolver->setup.arg);
    if (!elsewhere) {
        enum store_change change =
            env->stores.has_feed ? STORE_KEPT : stores_use(&env->stores, store);

        back_env_store_changed(env, change);
        if (change != STORE_KEPT)
            back_env_post_freshness(env);
        return;
    }
    env->metrics.value[METRIC_READS_ELSEWHERE]++;
    resolver->elsewhere_us = clock_monotonic_us();
    if (freshness_lookups_elsewhere(&env->freshness))
        back_env_post_freshness(env);
    if (!resolver->elsewhere_logged) {
        store_id_to_text(store, text);
        log_error(&env->log,
                  "postgres (lookups): answers come from store %s, which is not the change feed's: "
                  "a revocation is enforced within cache.ttl_unlinked until both agree (see "
                  "postgres.dsn and listen_dsn)",
                  text);
    }
    resolver->elsewhere_logged = true;
}

static void on_findings_begin(void *arg)
{
    struct redis_batch *batch = arg;

    freshness_tick(&batch->resolver->env->freshness, clock_monotonic_us());
}

/* Another sidecar has heard of a change of the key: earlier reads are out of date, here too,
 * whether or not PostgreSQL can be asked. A sidecar that hears of every change itself knows the
 * time of the change better. */
static void take_tombstone(struct resolver *resolver, const struct digest *digest,
                           int64_t changed_at_us)
{
    if (!freshness_hears_all(&resolver->env->freshness))
        forget_older(resolver, digest, changed_at_us);
}

/* Redis has told all that it holds for the key: answer, or ask PostgreSQL. */
static void use_findings(struct resolver *resolver, struct lookup *lookup)
{
    const struct verdict *verdict = &lookup->old;
    enum freshness_use use = USE_NEVER;

    if (verdict->kind != VERDICT_UNAVAILABLE) {
        note_in_redis(resolver, verdict);
        use = use_of(resolver, lookup, verdict);
    }
    if (use == USE_NOW) {
        resolver->env->metrics.value[METRIC_REDIS_HITS]++;
        answer(resolver, lookup, verdict, TIER_REDIS, NULL);
        return;
    }
    if (use == USE_NEVER)
        lookup_keep(&lookup->old, &verdict_unavailable);
    pg_pool_add(resolver->postgres, lookup);
}

/* The verdict of a key is held by its first digest, tombstones by any: they are in force before the
 * verdict is judged. */
static void on_finding(void *arg, enum redis_finding finding, const struct verdict *verdict)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;
    struct lookup *lookup = TAILQ_FIRST(&batch->lookups);
    size_t which = batch->next++;

    if (finding == FOUND_TOMBSTONE && !lookup->explanation)
        take_tombstone(resolver, &lookup->names.digests.of[which], verdict->read_at_us);
    if (which == 0 && lookup->explanation) {
        lookup->explanation->redis = finding;
        if (finding == FOUND_VERDICT)
            lookup_keep(&lookup->explanation->in_redis, verdict);
    } else if (which == 0 && finding == FOUND_VERDICT) {
        lookup_keep(&lookup->old, verdict);
    }
    if (batch->next < lookup->names.digests.len)
        return;
    batch->next = 0;
    TAILQ_REMOVE(&batch->lookups, lookup, in_list);
    if (lookup->explanation)
        pg_pool_add(resolver->postgres, lookup);
    else
        use_findings(resolver, lookup);
}

static void on_findings(void *arg)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;

    free(batch);
    pg_pool_go(resolver->postgres);
}

/* Send the digests of waiting lookups to Redis, up to REDIS_BATCH. */
static void read_redis(struct resolver *resolver)
{
    struct redis_batch *batch = malloc(sizeof *batch);
    struct digest digests[REDIS_BATCH];
    struct lookup *lookup;
    size_t max = redis_tier_batch_max(resolver->redis), len = 0;

    if (!batch)
        out_of_memory();
    if (max > REDIS_BATCH)
        max = REDIS_BATCH;
    *batch = (struct redis_batch){.resolver = resolver};
    TAILQ_INIT(&batch->lookups);
    while (len <= max - DIGESTS_MAX && (lookup = lookup_list_take(&resolver->for_redis))) {
        const struct digests *of_key = &lookup->names.digests;

        TAILQ_INSERT_TAIL(&batch->lookups, lookup, in_list);
        memcpy(&digests[len], of_key->of, of_key->len * sizeof digests[0]);
        len += of_key->len;
    }
    redis_tier_read(resolver->redis, digests, len,
                    (struct redis_read){on_findings_begin, on_finding, on_findings, batch});
}

/* Redis holds verdicts of the feed's store. While another store answers lookups, ALLOWs and their
 * usage belong to that store. */
static bool redis_agrees(const struct resolver *resolver)
{
    const struct stores *stores = &resolver->env->stores;

    return !stores->has_home || !stores->has_current ||
           store_id_same_table(&stores->home, &stores->current);
}

void resolver_add(struct resolver *resolver, const struct to_back *message)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);

    if (!lookup)
        out_of_memory();
    lookup->request = message->lookup;
    key_hasher_names(resolver->env->hasher, lookup_key(lookup), &lookup->names);
    if (message->type == TO_BACK_EXPLAIN) {
        lookup->explanation = calloc(1, sizeof *lookup->explanation);
        if (!lookup->explanation)
            out_of_memory();
        lookup->explanation->resp3 = message->resp3;
        lookup->explanation->digest = message->lookup.digest;
        lookup->explanation->memory = message->explain;
        lookup->ask = message->ask;
    }
    bool use_redis = redis_tier_usable(resolver->redis) && redis_agrees(resolver);
    if (!lookup->request.refresh && (lookup->explanation || use_redis))
        TAILQ_INSERT_TAIL(&resolver->for_redis, lookup, in_list);
    else
        pg_pool_add(resolver->postgres, lookup);
}

void resolver_go(struct resolver *resolver)
{
    while (!TAILQ_EMPTY(&resolver->for_redis))
        read_redis(resolver);
    pg_pool_go(resolver->postgres);
}

void resolver_configure(struct resolver *resolver)
{
    redis_tier_configure(resolver->redis);
    pg_pool_configure(resolver->postgres);
}

void resolver_invalidate(struct resolver *resolver, const struct digest *digest, int64_t now_us)
{
    freshness_key_changed(&resolver->env->freshness, digest, now_us);
    redis_tier_tombstone(resolver->redis, digest, resolver->env->config->cache_ttl);
}

void resolver_probe(struct resolver *resolver, bool hurry)
{
    pg_pool_probe(resolver->postgres, hurry);
}

void resolver_heartbeat(struct resolver *resolver)
{
    pg_pool_heartbeat(resolver->postgres);
}

void resolver_feed_is(struct resolver *resolver, bool usable)
{
    pg_pool_feed_is(resolver->postgres, usable);
}

bool resolver_agrees(struct resolver *resolver, int64_t since_us)
{
    bool agrees = resolver->elsewhere_us < since_us && pg_pool_agree(resolver->postgres);

    if (agrees)
        resolver->elsewhere_logged = false;
    return agrees;
}

bool resolver_answers(const struct resolver *resolver)
{
    return pg_pool_answer(resolver->postgres);
}

bool resolver_failing(const struct resolver *resolver)
{
    return resolver->failing || !pg_pool_answer(resolver->postgres);
}

int64_t resolver_newest_in_memory(const struct resolver *resolver)
{
    return resolver->newest_in_memory_us;
}

int64_t resolver_newest_in_redis(const struct resolver *resolver)
{
    return store_id_equal(&resolver->redis_store, &resolver->env->stores.current)
               ? resolver->newest_in_redis_us
               : TIME_NEVER;
}

size_t resolver_connections_up(const struct resolver *resolver)
{
    return pg_pool_up(resolver->postgres);
}

const char *resolver_fault(const struct resolver *resolver)
{
    return pg_pool_fault(resolver->postgres);
}

static void on_postgres_down(void *arg, bool down)
{
    struct resolver *resolver = arg;

    freshness_lookups_down(&resolver->env->freshness, down);
    back_env_post_freshness(resolver->env);
}

static bool on_lend(void *arg, const struct pg_query *query)
{
    struct resolver *resolver = arg;

    return resolver->setup.lend(resolver->setup.arg, query);
}

struct resolver *resolver_new(const struct resolver_setup *setup)
{
    struct back_env *env = setup->env;
    struct resolver *resolver = calloc(1, sizeof *resolver);

    if (!resolver)
        return NULL;
    resolver->setup = *setup;
    resolver->env = env;
    resolver->elsewhere_us = TIME_NEVER;
    resolver->newest_in_memory_us = resolver->newest_in_redis_us = TIME_NEVER;
    TAILQ_INIT(&resolver->for_redis);
    resolver->redis = redis_tier_new(env);
    resolver->postgres = pg_pool_new(&(struct pg_pool_setup){
        .env = env,
        .answered = on_answered,
        .failed = on_failed,
        .on_store = on_store,
        .lend = on_lend,
        .on_down = on_postgres_down,
        .arg = resolver,
    });
    if (!resolver->redis || !resolver->postgres) {
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    /* Pending lookups end as UNAVAILABLE. */
    if (resolver->redis)
        redis_tier_close(resolver->redis);
    pg_pool_free(resolver->postgres);
    redis_tier_free(resolver->redis);
    free(resolver);
}
