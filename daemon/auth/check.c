/* SPDX-License-Identifier: MIT */
#include <apikeyd/auth/check.h>

#include <stdlib.h>

#include <apikeyd/auth/front_state.h>
#include <apikeyd/auth/key_digest.h>
#include <apikeyd/base/utf8.h>
#include <apikeyd/conn/connection.h>

#include "denials.h"
#include "quotas.h"

/* One lookup under way, and its waiters, oldest first. A refresh may have no waiter. */
struct flight {
    struct digest_node node; /* first member: the map finds the flight by it */
    uint32_t process_id;     /* the process that asked first */
    uint32_t connection_id;  /* and its connection */
    TAILQ_HEAD(, waiter) waiters;
    uint8_t key_len;
    char key[]; /* for another lookup */
};

struct waiter {
    struct front *front;
    struct flight *flight;
    struct pending_reply *pending;
    struct reply_encoder encoder;
    int64_t asked_us;
    TAILQ_ENTRY(waiter) in_flight;
    TAILQ_ENTRY(waiter) in_front; /* of all, in the order of asking */
    struct event timer;
    bool timed;
    bool soft;                  /* the timer is postgres.soft_timeout's, not WITHIN's */
    struct timeval within_rest; /* what is left of WITHIN after that; zero: there is none */
    uint8_t forwarded_len;
    char forwarded[FORWARDED_MAX]; /* the end of X-Forwarded-For */
};

static const char no_clock[] = "PostgreSQL's clock is not known, and the key has a start or an end";
static const char no_back_thread[] = "the daemon's back thread does not answer";

void reply_encoder_clear(struct reply_encoder *encoder)
{
    if (!encoder->text)
        return;
    explicit_bzero(encoder->text, encoder->text_len);
    free(encoder->text);
    encoder->text = NULL;
}

const char *check_key_id(struct slice key)
{
    if (key.len == 0)
        return "key id is empty";
    if (key.len > KEY_LEN_MAX)
        return "key id is longer than 255 bytes";
    if (!utf8_valid_text(key))
        return "key id is not valid UTF-8 text without NUL";
    return NULL;
}

static void count_verdict(struct front *front, enum verdict_kind kind, enum tier tier)
{
    front->metrics.value[kind == VERDICT_UNAVAILABLE ? METRIC_CHECKS_UNAVAILABLE
                                                     : metric_of_check(kind, tier)]++;
    front->answered[tier]++;
}

static void note_unrecorded(struct front *front)
{
    front->metrics.value[METRIC_USAGE_UNRECORDED]++;
    if (!front->unrecorded_logged)
        front_log(front, LOG_LEVEL_WARNING,
                  "usage.ledger: no room for more keys; last_used is being lost");
    front->unrecorded_logged = true;
}

static void note_full(struct front *front)
{
    front->usage_full_logged = front_post(front, &(struct to_back){.type = TO_BACK_USAGE_FULL});
}

/* An ALLOW is about to be answered: note the time. */
static void record_usage(struct front *front, const struct row_id *api_key_id,
                         struct cached_verdict *cached)
{
    if (!ledger_half_record(front->usage, api_key_id, front->wall_us, front->bucket.allow_tag,
                            &cached->usage_slot)) {
        note_unrecorded(front);
        return;
    }
    front->metrics.value[METRIC_USAGE_RECORDED]++;
    if (front->usage->used >= front->usage_full && !front->usage_full_logged)
        note_full(front);
}

/* A DENY of a key that exists is about to be answered. */
static void record_refusal(struct front *front, const struct verdict *verdict,
                           struct cached_verdict *cached)
{
    if (front->bucket.hour == 0 || !verdict_has_row(verdict))
        return;
    if (!ledger_half_record(front->usage, &verdict->api_key_id, front->wall_us,
                            usage_tag(verdict->kind, front->bucket.hour), &cached->usage_slot))
        note_unrecorded(front);
    else if (front->usage->used >= front->usage_full && !front->usage_full_logged)
        note_full(front);
}

/* Returns whether the verdict depends on PostgreSQL's clock, and that is not known. */
static bool undecided(const struct front *front, const struct cached_verdict *cached)
{
    return cached->flags & CACHED_WINDOW && !freshness_knows_clock(&front->freshness.limits) &&
           cached->kind == VERDICT_ALLOW;
}

/* The answer is what holds now, and for no longer than the key's window. */
static void judge_window(const struct front *front, const struct key_window *window,
                         struct verdict *verdict, struct answer *answer)
{
    const struct freshness_limits *limits = &front->freshness.limits;

    verdict->kind = freshness_kind(limits, verdict->kind, window);
    if (verdict->kind == VERDICT_UNAVAILABLE)
        *answer = (struct answer){.verdict = verdict, .tier = TIER_NONE, .why = no_clock};
    else if (verdict->kind == VERDICT_ALLOW && window->end_us != 0 &&
             answer->left_us > window->end_us - limits->pg_latest_us)
        answer->left_us = window->end_us - limits->pg_latest_us;
}

/* A verdict that is answered and not kept. It is the slot that the flag CACHED_OUTDATED is in. */
struct passing_verdict {
    struct cached_verdict slot;
    struct cached_rest rest; /* behind the slot, as in a cache */
    struct attributes attributes;
};

/* The attributes begin with a quota. */
static void judge_quota(struct front *front, struct verdict *verdict, struct answer *answer,
                        struct quota_told *told)
{
    uint64_t quota;

    if (!quota_take(&verdict->attributes, &quota) || verdict->kind != VERDICT_ALLOW)
        return;
    *told = quotas_use(front, &verdict->api_key_id, quota);
    answer->quota = told;
}

/* As judge_window(), for a verdict with one of these flags. A gateway must not keep what a change
 * has overtaken. */
static void judge_flags(struct front *front, const struct cached_verdict *cached,
                        struct verdict *verdict, struct answer *answer, struct quota_told *told,
                        const struct reply_encoder *encoder)
{
    if (cached->flags & CACHED_OUTDATED) {
        answer->left_us = 0;
        verdict->attributes = ((const struct passing_verdict *)cached)->attributes;
        judge_quota(front, verdict, answer, told);
        return;
    }
    if (encoder->attributes || cached->flags & CACHED_QUOTA)
        verdict->attributes = verdict_cache_attributes(front->cache, cached);
    if (cached->flags & CACHED_WINDOW)
        judge_window(front, verdict_cache_window(front->cache, cached), verdict, answer);
    if (cached->flags & CACHED_QUOTA)
        judge_quota(front, verdict, answer, told);
}

/* Answer from a verdict in memory, fresh or served stale. */
static void answer_cached(struct front *front, struct cached_verdict *cached, enum tier tier,
                          struct buffer *out, const struct reply_encoder *encoder,
                          const struct asker *asker)
{
    struct verdict verdict;
    struct quota_told told;
    struct answer answer = {
        .verdict = &verdict,
        .tier = tier,
        .left_us = freshness_left(&front->freshness.limits, cached->kind, cached->read_at_us),
    };

    cached_verdict_read(cached, &verdict);
    if (cached->flags & (CACHED_WINDOW | CACHED_OUTDATED | CACHED_ATTRIBUTES))
        judge_flags(front, cached, &verdict, &answer, &told, encoder);
    /* The slot's cache line is fetched while the answer is written. The answer is sent after the
     * use is recorded. */
    ledger_half_prefetch(front->usage, cached->usage_slot);
    encoder->write(front, out, &answer, encoder);
    if (verdict.kind == VERDICT_ALLOW) {
        record_usage(front, &verdict.api_key_id, cached);
    } else if (verdict.kind != VERDICT_UNAVAILABLE) {
        record_refusal(front, &verdict, cached);
        denials_note(front, &cached->digest, &verdict, tier, asker);
    }
    count_verdict(front, verdict.kind, answer.tier);
}

/* The same in the place of the check. */
static void answer_check(struct front *front, struct check *check, struct cached_verdict *cached,
                         enum tier tier)
{
    const struct asker asker = {check->connection, check->forwarded};

    answer_cached(front, cached, tier, connection_reply(check->connection), &check->encoder,
                  &asker);
}

/* The verdict in memory if it is good for `use`, or NULL. Changes of the key have removed it. */
static struct cached_verdict *held_for(struct front *front, const struct digest *digest,
                                       enum freshness_use use)
{
    struct cached_verdict *cached = verdict_cache_peek(front->cache, digest);

    if (!cached || freshness_of(&front->freshness, NULL, cached->kind, cached->read_at_us) < use ||
        undecided(front, cached))
        return NULL;
    return cached;
}

/* The same for a lookup under way: the key may have changed since the lookup began. */
static struct cached_verdict *flight_verdict(struct front *front, const struct flight *flight,
                                             enum freshness_use use)
{
    struct slice key = {flight->key, flight->key_len};
    struct digest digest;

    key_digest(front->hasher, &front->freshness, front->cache, key, &digest);
    return held_for(front, &digest, use);
}

static void answer_unavailable(struct front *front, struct buffer *out,
                               const struct reply_encoder *encoder, const char *why)
{
    struct answer answer = {.verdict = &verdict_unavailable, .tier = TIER_NONE, .why = why};

    count_verdict(front, VERDICT_UNAVAILABLE, TIER_NONE);
    encoder->write(front, out, &answer, encoder);
}

bool check_is_malformed(const struct front *front, struct slice key)
{
    return front->config->keys_form == KEY_FORM_PREFIXED &&
           !key_form_fits(&front->config->keys_prefix, key);
}

static void answer_malformed(struct front *front, struct buffer *out,
                             const struct reply_encoder *encoder)
{
    static const struct verdict unknown = {.kind = VERDICT_DENY_UNKNOWN};
    struct answer answer = {.verdict = &unknown, .tier = TIER_NONE};

    front->metrics.value[METRIC_CHECKS_MALFORMED]++;
    encoder->write(front, out, &answer, encoder);
}

static void check_unavailable(struct front *front, struct check *check, const char *why)
{
    answer_unavailable(front, connection_reply(check->connection), &check->encoder, why);
}

/* Ask the back thread. False when its mailbox is full. */
static bool post_lookup(struct front *front, const struct flight *flight, bool refresh)
{
    struct to_back message = {.type = TO_BACK_LOOKUP};

    message.lookup.digest = flight->node.digest;
    message.lookup.key_scheme = front->key_scheme;
    message.lookup.connection_id = flight->connection_id;
    message.lookup.refresh = refresh;
    message.lookup.key_len = flight->key_len;
    memcpy(message.lookup.key, flight->key, flight->key_len);
    bool posted = front_post(front, &message);
    explicit_bzero(message.lookup.key, flight->key_len);
    front->metrics.value[METRIC_LOOKUPS] += posted;
    return posted;
}

static void flight_free(struct flight *flight)
{
    explicit_bzero(flight->key, flight->key_len);
    free(flight);
}

/* Begin a lookup. NULL when too many are under way: keys that memory holds, fresh or not, have some
 * extra room, which a flood of made-up keys cannot use up. */
static struct flight *start_flight(struct front *front, const struct check *check, bool refresh)
{
    const struct connection *connection = check->connection;

    if (admission_refuses(&front->admission, connection->process_id) &&
        (front->flights.count >= config_pending_max(front->config) ||
         !verdict_cache_peek(front->cache, &check->digest)))
        return NULL;
    struct flight *flight = malloc(sizeof *flight + check->key.len);
    if (!flight)
        return NULL;
    *flight = (struct flight){
        .node = {.digest = check->digest},
        .process_id = connection->process_id,
        .connection_id = (uint32_t)connection->id,
        .key_len = (uint8_t)check->key.len,
    };
    memcpy(flight->key, check->key.at, check->key.len);
    TAILQ_INIT(&flight->waiters);
    if (!post_lookup(front, flight, refresh)) {
        flight_free(flight);
        return NULL;
    }
    digest_map_add(&front->flights, &flight->node);
    admission_begin(&front->admission, flight->process_id);
    front->clients.pending_replies_max = admission_connection_max(&front->admission);
    return flight;
}

/* The flight has its answer, and no waiters any more. */
static void end_flight(struct front *front, struct flight *flight)
{
    digest_map_remove(&front->flights, &flight->node);
    admission_end(&front->admission, flight->process_id);
    front->clients.pending_replies_max = admission_connection_max(&front->admission);
    flight_free(flight);
}

static void waiter_free(struct waiter *waiter)
{
    if (waiter->timed)
        event_del(&waiter->timer);
    TAILQ_REMOVE(&waiter->flight->waiters, waiter, in_flight);
    TAILQ_REMOVE(&waiter->front->waiters, waiter, in_front);
    reply_encoder_clear(&waiter->encoder);
    free(waiter);
}

/* Answer by the verdict, or UNAVAILABLE if it is NULL. */
static void answer_waiter(struct waiter *waiter, struct cached_verdict *cached, enum tier tier,
                          const char *why)
{
    struct front *front = waiter->front;
    struct pending_reply *pending = waiter->pending;
    const struct asker asker = {pending->connection, {waiter->forwarded, waiter->forwarded_len}};

    front_time_wait(front, cached ? tier : TIER_NONE, waiter->asked_us);
    if (cached)
        answer_cached(front, cached, tier, pending_reply_buffer(pending), &waiter->encoder, &asker);
    else
        answer_unavailable(front, pending_reply_buffer(pending), &waiter->encoder, why);
    waiter_free(waiter);
    pending_reply_close(pending);
}

static void on_client_gone(void *owner)
{
    waiter_free(owner);
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void start_timer(struct waiter *waiter, struct timeval delay)
{
    if (!waiter->timed)
        event_assign(&waiter->timer, waiter->front->base, -1, 0, on_timer, waiter);
    waiter->timed = true;
    event_add(&waiter->timer, &delay);
}

/* The waiter has waited long enough: by WITHIN, or with a stale verdict in hand. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct waiter *waiter = arg;
    struct front *front = waiter->front;

    (void)fd;
    (void)what;
    front_tick(front);
    struct cached_verdict *stale = flight_verdict(front, waiter->flight, USE_IF_SLOW);
    if (waiter->soft && !stale) {
        waiter->soft = false;
        if (timerisset(&waiter->within_rest))
            start_timer(waiter, waiter->within_rest);
        return;
    }
    front->metrics.value[METRIC_DEADLINES] += !waiter->soft;
    answer_waiter(waiter, waiter->soft ? stale : NULL, TIER_STALE, "deadline");
}

/* Answer the requests that have waited since `late_us` or longer, without the back thread. Their
 * lookups go on, and later requests use the answers. */
static void expire(struct front *front, int64_t late_us, const char *why)
{
    struct waiter *waiter;

    while ((waiter = TAILQ_FIRST(&front->waiters)) && waiter->asked_us <= late_us) {
        front->metrics.value[METRIC_CHECKS_OVERDUE]++;
        answer_waiter(waiter, flight_verdict(front, waiter->flight, USE_IF_DOWN), TIER_STALE, why);
    }
}

static void on_deadline(void *arg)
{
    struct front *front = arg;

    front_tick(front);
    int64_t late_us = front->now_us - config_wait_max_us(front->config);
    expire(front, late_us, "the lookup takes too long");
    const struct waiter *next = TAILQ_FIRST(&front->waiters);
    front->deadline_set = next != NULL;
    if (next)
        fd_timer_set(&front->deadline, next->asked_us - late_us, 0);
}

/* The deadline of present waiters may have changed. */
void check_configured(struct front *front)
{
    on_deadline(front);
}

void check_give_up(struct front *front)
{
    expire(front, INT64_MAX, no_back_thread);
}

/* Wait for `flight`: until it ends, `within_ms` (0: the request has no limit) passes, or, with a
 * stale verdict in hand, postgres.soft_timeout passes; but no longer than config_wait_max_us(). */
static bool wait_for(struct front *front, struct flight *flight, struct check *check)
{
    struct waiter *waiter = calloc(1, sizeof *waiter);
    struct pending_reply *pending = waiter ? pending_reply_open(check->connection) : NULL;
    int64_t soft_timeout_us = front->config->postgres_soft_timeout;
    int64_t within_us = check->within_ms * 1000;

    if (!pending) {
        free(waiter);
        return false;
    }
    *waiter = (struct waiter){.front = front,
                              .flight = flight,
                              .pending = pending,
                              .encoder = check->encoder,
                              .asked_us = front->now_us};
    check->encoder.text = NULL; /* the waiter's now */
    struct slice forwarded = slice_end(check->forwarded, sizeof waiter->forwarded);
    if (forwarded.len > 0)
        memcpy(waiter->forwarded, forwarded.at, forwarded.len);
    waiter->forwarded_len = (uint8_t)forwarded.len;
    pending->cancel = on_client_gone;
    pending->owner = waiter;
    TAILQ_INSERT_TAIL(&flight->waiters, waiter, in_flight);
    TAILQ_INSERT_TAIL(&front->waiters, waiter, in_front);
    if (!front->deadline_set)
        fd_timer_set(&front->deadline, config_wait_max_us(front->config), 0);
    front->deadline_set = true;
    waiter->soft = held_for(front, &check->digest, USE_IF_SLOW) &&
                   (within_us == 0 || soft_timeout_us < within_us);
    if (waiter->soft) {
        int64_t rest_us = within_us > 0 ? within_us - soft_timeout_us : 0;

        waiter->within_rest = (struct timeval){rest_us / 1000000, rest_us % 1000000};
        start_timer(waiter, (struct timeval){soft_timeout_us / 1000000, soft_timeout_us % 1000000});
    } else if (within_us > 0) {
        start_timer(waiter, (struct timeval){within_us / 1000000, within_us % 1000000});
    }
    return true;
}

static void check_miss(struct front *front, struct check *check)
{
    struct flight *flight = (struct flight *)digest_map_find(&front->flights, &check->digest);

    if (flight)
        front->metrics.value[METRIC_LOOKUPS_SHARED]++;
    else
        flight = start_flight(front, check, false);
    if (flight && wait_for(front, flight, check))
        return;

    front->metrics.value[METRIC_OVERLOADS]++;
    check_unavailable(front, check, "too many lookups pending");
}

/* While PostgreSQL is known to be down, or the back thread to stand still, a request with a
 * servable verdict in hand does not wait. About once a second a lookup goes out all the same: Redis
 * may hold verdicts of other sidecars. */
static bool answer_stale(struct front *front, struct check *check)
{
    struct cached_verdict *stale = held_for(front, &check->digest, USE_IF_DOWN);

    if (!stale)
        return false;
    if (verdict_cache_touch(stale, front->now_us) &&
        !digest_map_find(&front->flights, &check->digest))
        (void)start_flight(front, check, false);
    answer_check(front, check, stale, TIER_STALE);
    return true;
}

/* A hit in the last fifth of its ttl: start one refresh. */
static void refresh_ahead(struct front *front, struct check *check, struct cached_verdict *cached)
{
    if (cached->flags & CACHED_REFRESHING)
        return;
    if (!digest_map_find(&front->flights, &check->digest) && !start_flight(front, check, true))
        return;
    cached->flags |= CACHED_REFRESHING;
    front->metrics.value[METRIC_REFRESHES]++;
}

/* Not in memory, or not fresh. */
static void ask_stores(struct front *front, struct check *check)
{
    if (front_back_silent(front)) {
        if (!answer_stale(front, check))
            check_unavailable(front, check, no_back_thread);
    } else if (!freshness_no_lookups(&front->freshness) || !answer_stale(front, check)) {
        check_miss(front, check);
    }
}

const char *check_digest(struct front *front, struct check *check)
{
    struct cached_verdict *cached =
        verdict_cache_get(front->cache, &check->digest, &front->freshness.limits);

    if (cached && !undecided(front, cached)) {
        if (freshness_refresh_due(&front->freshness.limits, cached->kind, cached->read_at_us))
            refresh_ahead(front, check, cached);
        answer_check(front, check, cached, TIER_MEMORY);
    } else if (check_is_malformed(front, check->key)) {
        answer_malformed(front, connection_reply(check->connection), &check->encoder);
    } else {
        /* A hit needs no check of the bytes: the miss before it checked the same bytes. */
        const char *wrong = check_key_id(check->key);

        if (wrong)
            return wrong;
        ask_stores(front, check);
    }
    reply_encoder_clear(&check->encoder);
    return NULL;
}

const char *check_key(struct front *front, struct check *check)
{
    if (check->key.len == 0)
        return check_key_id(check->key);
    if (check->key.len <= KEY_LEN_MAX) {
        key_digest(front->hasher, &front->freshness, front->cache, check->key, &check->digest);
        return check_digest(front, check);
    }
    /* The table may hold a longer key, so this is no DENY, unless no key has that form. */
    if (check_is_malformed(front, check->key))
        answer_malformed(front, connection_reply(check->connection), &check->encoder);
    else
        check_unavailable(front, check, "key id is longer than 255 bytes, and cannot be looked up");
    reply_encoder_clear(&check->encoder);
    return NULL;
}

/* Returns the verdict for all waiters: the one that came, or a stale one if none did. NULL for
 * UNAVAILABLE. */
static struct cached_verdict *keep_answer(struct front *front, const struct to_front *message,
                                          const struct flight *flight, enum tier *ret_tier)
{
    const struct verdict *verdict = &message->answer.verdict;

    *ret_tier = message->answer.tier;
    if (verdict->kind == VERDICT_UNAVAILABLE) {
        *ret_tier = TIER_STALE;
        return flight ? flight_verdict(front, flight, USE_IF_DOWN) : NULL;
    }
    front->metrics.value[METRIC_DUPLICATE_KEYS] += verdict->rows > 1;
    return verdict_cache_put(front->cache, &message->answer.digest, verdict,
                             &front->freshness.limits);
}

/* A verdict that is no longer fresh does not answer a waiter that joined the flight late: the
 * verdict may be older than the question, and than a revocation that the daemon has not heard
 * of. */
static bool answers(const struct front *front, const struct cached_verdict *cached, enum tier tier,
                    const struct waiter *waiter)
{
    return tier == TIER_STALE || freshness_read_since(cached->read_at_us, waiter->asked_us) ||
           freshness_is_fresh(&front->freshness.limits, cached->kind, cached->read_at_us);
}

void check_prefetch(const struct front *front, const struct digest *digest)
{
    digest_map_prefetch(&front->flights, digest);
    verdict_cache_prefetch(front->cache, digest);
}

/* The answer is too old for this waiter, which joined late. The first such waiter sends the lookup
 * again, for all of them, so PostgreSQL is asked after they joined. */
static void ask_again(struct waiter *waiter, bool *again)
{
    *again = *again || post_lookup(waiter->front, waiter->flight, true);
    if (!*again)
        answer_waiter(waiter, NULL, TIER_NONE, "too many lookups pending");
}

void check_answer(struct front *front, const struct to_front *message)
{
    struct flight *flight =
        (struct flight *)digest_map_find(&front->flights, &message->answer.digest);
    const char *why = message->answer.why ? message->answer.why : "no answer";
    enum tier tier;
    bool again = false;

    if (message->answer.key_scheme != front->key_scheme)
        return;
    struct cached_verdict *cached = keep_answer(front, message, flight, &tier);
    if (!flight)
        return;
    for (struct waiter *waiter = TAILQ_FIRST(&flight->waiters), *next; waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, in_flight);
        if (!cached || answers(front, cached, tier, waiter))
            answer_waiter(waiter, cached, tier, why);
        else
            ask_again(waiter, &again);
    }
    if (!again)
        end_flight(front, flight);
}

void check_outdated(struct front *front, const struct to_front *message)
{
    struct verdict verdict = message->answer.verdict;
    struct flight *flight =
        (struct flight *)digest_map_find(&front->flights, &message->answer.digest);
    bool again = false;

    if (!flight || message->answer.key_scheme != front->key_scheme)
        return;
    /* What is not kept has no window: the answer is given now. */
    verdict.kind = freshness_kind(&front->freshness.limits, verdict.kind, &verdict.window);
    for (struct waiter *waiter = TAILQ_FIRST(&flight->waiters), *next; waiter; waiter = next) {
        struct passing_verdict passing = {
            .slot = {.digest = message->answer.digest, .flags = CACHED_OUTDATED},
            .attributes = verdict.attributes,
        };

        cached_verdict_set(&passing.slot, &verdict);
        next = TAILQ_NEXT(waiter, in_flight);
        if (freshness_read_since(verdict.read_at_us, waiter->asked_us))
            answer_waiter(waiter, verdict.kind == VERDICT_UNAVAILABLE ? NULL : &passing.slot,
                          message->answer.tier, no_clock);
        else
            ask_again(waiter, &again);
    }
    if (!again)
        end_flight(front, flight);
}

/* The flight's key has become one that cannot exist. */
static void answer_waiter_malformed(struct waiter *waiter)
{
    struct pending_reply *pending = waiter->pending;

    answer_malformed(waiter->front, pending_reply_buffer(pending), &waiter->encoder);
    waiter_free(waiter);
    pending_reply_close(pending);
}

/* Ask for the key of a flight that is in no map. Without room its waiters get no verdict. */
static void begin_anew(struct front *front, struct flight *flight)
{
    struct slice key = {flight->key, flight->key_len};

    key_digest(front->hasher, &front->freshness, front->cache, key, &flight->node.digest);
    digest_map_add(&front->flights, &flight->node);
    if (check_is_malformed(front, key)) {
        while (!TAILQ_EMPTY(&flight->waiters))
            answer_waiter_malformed(TAILQ_FIRST(&flight->waiters));
        end_flight(front, flight);
        return;
    }
    if (post_lookup(front, flight, true))
        return;
    while (!TAILQ_EMPTY(&flight->waiters))
        answer_waiter(TAILQ_FIRST(&flight->waiters), NULL, TIER_NONE, "too many lookups pending");
    end_flight(front, flight);
}

void check_rekeyed(struct front *front)
{
    struct digest_map *flights = &front->flights;
    struct digest_node *node, *next, *all = NULL;

    for (size_t i = 0; i <= flights->mask; i++) {
        while ((node = flights->bucket[i])) {
            digest_map_remove(flights, node);
            node->next = all;
            all = node;
        }
    }
    for (node = all; node; node = next) {
        next = node->next;
        begin_anew(front, (struct flight *)node);
    }
}

bool check_init(struct front *front, uint64_t seed)
{
    TAILQ_INIT(&front->waiters);
    return fd_timer_init(&front->deadline, front->base, on_deadline, front) &&
           digest_map_init(&front->flights, front->config->postgres_max_pending, seed);
}

void check_done(struct front *front)
{
    struct digest_map *flights = &front->flights;

    fd_timer_done(&front->deadline);
    for (size_t i = 0; flights->bucket && i <= flights->mask; i++) {
        for (struct digest_node *node; (node = flights->bucket[i]);) {
            flights->bucket[i] = node->next;
            flight_free((struct flight *)node);
        }
    }
    digest_map_done(flights);
}
