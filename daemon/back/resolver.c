/* SPDX-License-Identifier: MIT */
#include "apikeyd/resolver.h"

#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/digest_map.h"
#include "apikeyd/explain.h"
#include "apikeyd/key_query.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/pg_clock.h"
#include "apikeyd/pg_connection.h"
#include "apikeyd/redis_tier.h"

enum { REDIS_BATCH = 1000 }; /* keys in one MGET at most: a bounded piece of work for both sides */

/* One key to find out about. It is in exactly one list: waiting, in a Redis batch, or in a
 * PostgreSQL batch. */
struct lookup {
    struct digest_node node; /* first: found by it; not for EXPLAIN */
    TAILQ_ENTRY(lookup) in_list;
    struct lookup_request request;
    int64_t deadline_us; /* while waiting for a connection */
    size_t batch_most;   /* bound of the batch it may go in; 0: none but the configured one */
    bool dirty;          /* invalidated on the way */
    bool retried;        /* a connection broke under it already */
    struct verdict old;  /* from Redis, for when PostgreSQL does not answer; or UNAVAILABLE */
    struct hole *hole;   /* EXPLAIN only */
    struct explanation *explanation;
};
TAILQ_HEAD(lookup_list, lookup);

struct redis_batch {
    struct resolver *resolver;
    struct lookup *next; /* whose finding comes next */
    struct lookup_list lookups;
};

/* A PostgreSQL connection and the batch it carries out. */
struct lane {
    struct resolver *resolver;
    struct pg_connection *connection;
    struct lookup_list lookups;
    size_t len;
    int64_t sent_us;
    struct buffer keys; /* the text[] parameter */
};

struct resolver {
    struct back_env *env;
    struct redis_tier *redis;
    struct pg_clock clock;
    struct digest_map in_flight;
    struct lookup_list for_redis;
    struct lookup_list for_postgres;
    struct event deadline;
    bool deadline_armed;
    char *sql;
    bool duplicates_said, refused_said; /* in the log */
    pending_usage *pending;
    void *pending_arg;
    size_t lane_count;
    struct lane *lanes;
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
    explanation->redis_believed =
        explanation->in_redis.read_at_us >= explanation->trust.oldest_us;
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

/* What is wrong with all connections at once, or NULL while one of them may still answer. */
static const char *postgres_down(const struct resolver *resolver)
{
    for (size_t i = 0; i < resolver->lane_count; i++) {
        const struct pg_connection *connection = resolver->lanes[i].connection;

        if (connection && !pg_connection_down(connection))
            return NULL;
    }
    return "postgres is down";
}

/* Arm the timer for the lookup that has waited longest for a connection. */
static void arm_deadline(struct resolver *resolver)
{
    struct lookup *first = TAILQ_FIRST(&resolver->for_postgres);

    if (!first || resolver->deadline_armed)
        return;
    int64_t wait_us = first->deadline_us - clock_monotonic_us();
    struct timeval delay = clock_timeval(wait_us > 0 ? wait_us : 0);
    resolver->deadline_armed = true;
    event_add(&resolver->deadline, &delay);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *resolver = arg;
    int64_t now_us = clock_monotonic_us();
    struct lookup *lookup;

    (void)fd;
    (void)what;
    resolver->deadline_armed = false;
    while ((lookup = TAILQ_FIRST(&resolver->for_postgres)) && lookup->deadline_us <= now_us) {
        TAILQ_REMOVE(&resolver->for_postgres, lookup, in_list);
        answer_unavailable(resolver, lookup, "postgres timeout");
    }
    arm_deadline(resolver);
}

static void queue_for_postgres(struct resolver *resolver, struct lookup *lookup)
{
    const char *down = postgres_down(resolver);

    if (down) {
        answer_unavailable(resolver, lookup, down);
        return;
    }
    lookup->deadline_us = clock_monotonic_us() + resolver->env->config->postgres_timeout;
    TAILQ_INSERT_TAIL(&resolver->for_postgres, lookup, in_list);
}

static void answer_read(struct resolver *resolver, struct lookup *lookup,
                        const struct verdict *verdict, int64_t server_read_us)
{
    /* The tombstone that a change leaves keeps NX fills out; a dirty read is thrown away too. */
    if (lookup->dirty) {
        lookup->dirty = false;
        queue_for_postgres(resolver, lookup);
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

/* Put the rows together, each with its lookup; rows come in the order of the keys. */
static void take_rows(struct lane *lane, struct lookup_list *lookups, const PGresult *result)
{
    struct resolver *resolver = lane->resolver;
    struct lookup *lookup;
    struct key_row row;
    int next = 0;

    resolver->refused_said = false;
    if (key_query_row(result, 0, &row))
        pg_clock_sample(&resolver->clock, lane->sent_us, clock_monotonic_us(),
                        row.server_read_us);

    for (size_t i = 0; (lookup = TAILQ_FIRST(lookups)); i++) {
        struct verdict verdict = {.kind = VERDICT_DENY_UNKNOWN, .read_at_us = lane->sent_us};
        int64_t server_read_us = 0;

        TAILQ_REMOVE(lookups, lookup, in_list);
        for (; key_query_row(result, next, &row) && row.key == i; next++) {
            key_query_combine(&verdict, &row);
            server_read_us = row.server_read_us;
        }
        answer_read(resolver, lookup, &verdict, server_read_us);
    }
}

/* The server refused the statement. Text that its encoding does not have (class 22) is the fault
 * of one key, which must not fail the others: each half is asked again, down to that key, which
 * then cannot be in the table. */
static void split_batch(struct lane *lane, struct lookup_list *lookups, size_t len,
                        const PGresult *result)
{
    struct resolver *resolver = lane->resolver;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool bad_text = state && strncmp(state, "22", 2) == 0;
    const char *message = PQresultErrorMessage(result);
    struct lookup *lookup;

    if (!bad_text && !resolver->refused_said) {
        log_error(&resolver->env->log, "postgres (lookups): %.*s", (int)strcspn(message, "\n"),
                  message[0] ? message : "rows of an unexpected form");
        resolver->refused_said = true;
    }
    if (bad_text && len == 1) {
        struct verdict unknown = {.kind = VERDICT_DENY_UNKNOWN, .read_at_us = lane->sent_us};

        lookup = TAILQ_FIRST(lookups);
        TAILQ_REMOVE(lookups, lookup, in_list);
        answer_read(resolver, lookup, &unknown, 0);
        return;
    }
    while ((lookup = TAILQ_FIRST(lookups))) {
        TAILQ_REMOVE(lookups, lookup, in_list);
        if (bad_text) {
            lookup->batch_most = len / 2;
            queue_for_postgres(resolver, lookup);
        } else {
            answer_unavailable(resolver, lookup, "postgres error");
        }
    }
}

static void on_result(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct lane *lane = arg;
    struct resolver *resolver = lane->resolver;
    struct lookup_list lookups;
    struct lookup *lookup;
    size_t len = lane->len;

    /* The lane is free again: answers may queue lookups anew. */
    TAILQ_INIT(&lookups);
    TAILQ_CONCAT(&lookups, &lane->lookups, in_list);
    lane->len = 0;
    explicit_bzero(lane->keys.data, lane->keys.cap);
    if (outcome == PG_DONE && key_query_valid(result))
        take_rows(lane, &lookups, result);
    else if (result)
        split_batch(lane, &lookups, len, result);
    while ((lookup = TAILQ_FIRST(&lookups))) {
        TAILQ_REMOVE(&lookups, lookup, in_list);
        if (outcome == PG_LOST && !lookup->retried) {
            lookup->retried = true;
            queue_for_postgres(resolver, lookup);
        } else {
            answer_unavailable(resolver, lookup, outcome == PG_LATE ? "postgres timeout"
                                                                    : "postgres connection lost");
        }
    }
    arm_deadline(resolver);
}

/* Send what waits, as far as it fits into a batch. */
static void send_batch(struct lane *lane)
{
    struct resolver *resolver = lane->resolver;
    const struct config *config = resolver->env->config;
    struct pg_query query = {
        .sql = resolver->sql,
        .params = 1,
        .timeout_us = config->postgres_timeout,
        .done = on_result,
        .arg = lane,
    };
    size_t most = config->postgres_batch;
    struct lookup *lookup;

    TAILQ_FOREACH (lookup, &resolver->for_postgres, in_list) {
        if (lookup->batch_most > 0 && lookup->batch_most < most)
            most = lookup->batch_most;
        if (lane->len >= most)
            break;
        lane->len++;
    }
    buffer_consume(&lane->keys, lane->keys.len);
    pg_array_begin(&lane->keys, PG_TEXT, lane->len);
    for (size_t i = 0; i < lane->len; i++) {
        lookup = TAILQ_FIRST(&resolver->for_postgres);
        TAILQ_REMOVE(&resolver->for_postgres, lookup, in_list);
        TAILQ_INSERT_TAIL(&lane->lookups, lookup, in_list);
        pg_array_element(&lane->keys, lookup->request.key, lookup->request.key_len);
    }
    query.param[0] = (struct pg_param){PG_TEXT_ARRAY, buffer_held(&lane->keys)};
    resolver->env->counters.value[COUNT_POSTGRES_SELECTS]++;
    resolver->env->counters.value[COUNT_POSTGRES_KEYS] += lane->len;
    /* Before it is sent: the verdicts are at least as old as this says. */
    lane->sent_us = clock_monotonic_us();
    pg_connection_send(lane->connection, &query);
}

static void send_batches(struct resolver *resolver)
{
    for (size_t i = 0; i < resolver->lane_count; i++) {
        struct lane *lane = &resolver->lanes[i];

        if (lane->connection && !TAILQ_EMPTY(&resolver->for_postgres) &&
            pg_connection_ready(lane->connection))
            send_batch(lane);
    }
    arm_deadline(resolver);
}

static void on_clock(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct lane *lane = arg;

    if (outcome == PG_DONE && PQgetlength(result, 0, 0) == 8)
        pg_clock_sample(&lane->resolver->clock, lane->sent_us, clock_monotonic_us(),
                        pg_get_int64(PQgetvalue(result, 0, 0)) + PG_EPOCH_US);
}

/* Verdicts in Redis cannot be dated before PostgreSQL's clock has been read once. */
static void read_clock(struct lane *lane)
{
    struct pg_query query = {
        .sql = "SELECT statement_timestamp()",
        .timeout_us = lane->resolver->env->config->postgres_timeout,
        .done = on_clock,
        .arg = lane,
    };

    lane->sent_us = clock_monotonic_us();
    pg_connection_send(lane->connection, &query);
}

static void on_ready(void *arg)
{
    struct lane *lane = arg;

    if (!lane->resolver->clock.known && TAILQ_EMPTY(&lane->resolver->for_postgres))
        read_clock(lane);
    send_batches(lane->resolver);
}

static void on_down(void *arg)
{
    struct lane *lane = arg;
    struct resolver *resolver = lane->resolver;
    struct lookup *lookup;
    const char *down = postgres_down(resolver);

    while (down && (lookup = TAILQ_FIRST(&resolver->for_postgres))) {
        TAILQ_REMOVE(&resolver->for_postgres, lookup, in_list);
        answer_unavailable(resolver, lookup, down);
    }
}

static void on_finding(void *arg, size_t key, enum redis_finding finding,
                       const struct verdict *verdict)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;
    struct lookup *lookup = batch->next;
    struct trust trust = trust_now(resolver);

    (void)key;
    batch->next = TAILQ_NEXT(lookup, in_list);
    TAILQ_REMOVE(&batch->lookups, lookup, in_list);
    if (lookup->explanation) {
        lookup->explanation->redis = finding;
        if (verdict)
            lookup->explanation->in_redis = *verdict;
        queue_for_postgres(resolver, lookup);
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
    queue_for_postgres(resolver, lookup);
}

static void on_findings(void *arg)
{
    struct redis_batch *batch = arg;
    struct resolver *resolver = batch->resolver;

    free(batch);
    send_batches(resolver);
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
    while (len < REDIS_BATCH && (lookup = TAILQ_FIRST(&resolver->for_redis))) {
        TAILQ_REMOVE(&resolver->for_redis, lookup, in_list);
        TAILQ_INSERT_TAIL(&batch->lookups, lookup, in_list);
        digests[len++] = lookup->request.digest;
    }
    batch->next = TAILQ_FIRST(&batch->lookups);
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
    if (!lookup->request.refresh &&
        (lookup->explanation || redis_tier_usable(resolver->redis)))
        TAILQ_INSERT_TAIL(&resolver->for_redis, lookup, in_list);
    else
        queue_for_postgres(resolver, lookup);
}

void resolver_go(struct resolver *resolver)
{
    while (!TAILQ_EMPTY(&resolver->for_redis))
        read_redis(resolver);
    send_batches(resolver);
}

void resolver_invalidate(struct resolver *resolver, const struct digest *digest)
{
    struct lookup *lookup = (struct lookup *)digest_map_find(&resolver->in_flight, digest);

    if (lookup)
        lookup->dirty = true;
    redis_tier_tombstone(resolver->redis, digest, ttl_us(resolver));
}

void resolver_invalidate_all(struct resolver *resolver)
{
    struct digest_map *map = &resolver->in_flight;

    for (size_t i = 0; i <= map->mask; i++) {
        for (struct digest_node *node = map->bucket[i]; node; node = node->next)
            ((struct lookup *)node)->dirty = true;
    }
    redis_tier_raise_floor(resolver->redis);
}

size_t resolver_connections_up(const struct resolver *resolver)
{
    size_t up = 0;

    for (size_t i = 0; i < resolver->lane_count; i++)
        up += pg_connection_ready(resolver->lanes[i].connection) || resolver->lanes[i].len > 0;
    return up;
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
    TAILQ_INIT(&resolver->for_postgres);
    event_assign(&resolver->deadline, env->base, -1, 0, on_deadline, resolver);
    resolver->sql = key_query_sql(env->config);
    resolver->redis = redis_tier_new(env, &resolver->clock);
    resolver->lanes = calloc(env->config->postgres_connections, sizeof *resolver->lanes);
    if (!resolver->sql || !resolver->redis || !resolver->lanes ||
        !digest_map_init(&resolver->in_flight, env->config->postgres_max_pending, seed))
        goto fail;
    for (size_t i = 0; i < env->config->postgres_connections; i++) {
        struct lane *lane = &resolver->lanes[i];

        lane->resolver = resolver;
        TAILQ_INIT(&lane->lookups);
        lane->connection = pg_connection_new(&(struct pg_connection_setup){
            .env = env,
            .purpose = "lookups",
            .on_ready = on_ready,
            .on_down = on_down,
            .arg = lane,
        });
        if (!lane->connection)
            goto fail;
        resolver->lane_count++;
    }
    return resolver;

fail:
    resolver_free(resolver);
    return NULL;
}

void resolver_free(struct resolver *resolver)
{
    struct lookup *lookup;

    if (!resolver)
        return;
    /* Lookups on their way come back with no answer and end as UNAVAILABLE. */
    redis_tier_free(resolver->redis);
    for (size_t i = 0; i < resolver->lane_count; i++) {
        struct pg_connection *connection = resolver->lanes[i].connection;

        resolver->lanes[i].connection = NULL;
        pg_connection_free(connection);
        buffer_free(&resolver->lanes[i].keys);
    }
    while ((lookup = TAILQ_FIRST(&resolver->for_postgres))) {
        TAILQ_REMOVE(&resolver->for_postgres, lookup, in_list);
        answer_unavailable(resolver, lookup, "shutting down");
    }
    event_del(&resolver->deadline);
    digest_map_done(&resolver->in_flight);
    free(resolver->lanes);
    free(resolver->sql);
    free(resolver);
}
