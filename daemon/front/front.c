/* SPDX-License-Identifier: MIT */
#include <apikeyd/front/front.h>

#include <stdio.h>
#include <stdlib.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/base/out_of_memory.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/face/commands.h>
#include <apikeyd/face/http.h>

/* The protocols of the sockets that this thread serves. */
static const struct protocol *const face[SOCKET_ROLES] = {
    [SOCKET_CHECK] = &check_protocol,
    [SOCKET_ADMIN] = &admin_protocol,
    [SOCKET_HTTP] = &http_protocol,
};

static void begin_requests(void *arg)
{
    struct front *front = arg;

    front_tick(front);
    lookahead_clear(&front->lookahead);
}

static void end_requests(void *arg)
{
    front_time_read(arg);
}

/* At most once a minute per user, so that repeated attempts do not fill the log. */
static void log_refused(void *arg, uid_t uid)
{
    struct front *front = arg;
    struct refusal *refusal = &front->refusals[0];

    for (size_t i = 0; i < REFUSALS && refusal->uid != uid; i++) {
        if (front->refusals[i].uid == uid || front->refusals[i].logged_us < refusal->logged_us)
            refusal = &front->refusals[i];
    }
    int64_t now_us = clock_monotonic_us();
    if (refusal->uid == uid && refusal->logged_us != 0 && refusal->logged_us > now_us - 60000000)
        return;
    *refusal = (struct refusal){uid, now_us};
    char name[32] = "a TCP client";
    if (uid != (uid_t)-1)
        snprintf(name, sizeof name, "user %u", (unsigned)uid);
    front_log(front, LOG_LEVEL_WARNING,
              "%s may not connect: neither listen.allow_uids nor allow_gids names it "
              "(logged at most once a minute for each user; see connections_refused_forbidden)",
              name);
}

static void log_over_share(void *arg, const struct peer *peer, size_t connections)
{
    struct front *front = arg;
    int64_t now_us = clock_monotonic_us();
    char name[64] = "clients over TCP or in another PID namespace have";

    if (front->over_share_logged_us != 0 && front->over_share_logged_us > now_us - 60000000)
        return;
    front->over_share_logged_us = now_us;
    if (peer->pid > 0)
        snprintf(name, sizeof name, "process %ld of user %u has", (long)peer->pid,
                 (unsigned)peer->uid);
    front_log(
        front, LOG_LEVEL_WARNING,
        "%s %zu connections, its share of listen.max_connections: more are refused (logged at "
        "most once a minute; see connections_refused_share)",
        name, connections);
}

static void use_half(struct front *front, struct ledger_half *half)
{
    front->usage = half;
    front->usage_full = half->kept + front->config->usage_flush_rows;
}

/* Hand the half in use over and go on in the other. There is one swap under way at most, so the
 * reserve has room for it. */
static void swap_usage(struct front *front, struct ledger_half *next)
{
    struct to_back message = {.type = TO_BACK_SWAPPED, .half = front->usage};

    if (!mailbox_post_reserved(front->to_back, &message, sizeof message))
        abort();
    front->usage_rounds++;
    use_half(front, next);
    front->usage_full_logged = false;
    front->unrecorded_logged = false;
}

/* Keys may have other digests from now on. */
static void use_hasher(struct front *front, struct key_hasher *hasher)
{
    key_hasher_free(front->hasher);
    front->hasher = hasher;
    if (key_hasher_digest_count(hasher) > 1 && !freshness_watch_keys(&front->freshness))
        out_of_memory();
}

static void apply_config(struct front *front, const struct to_front *message)
{
    struct config *config = message->configured.config;
    bool rekeyed = message->configured.key_scheme != front->key_scheme;

    use_hasher(front, message->configured.hasher);
    config_free(front->config);
    front->config = config;
    front->key_scheme = message->configured.key_scheme;
    if (rekeyed)
        check_rekeyed(front);
    struct freshness_policy policy = config_freshness_policy(config);
    freshness_set_policy(&front->freshness, &policy);
    use_half(front, front->usage);
    for (int role = 0; role < SOCKET_ROLES; role++)
        listener_configure(&front->listener[role], config);
    check_configured(front);
}

/* All clients have their answers and are gone. */
static void report_drained(void *arg)
{
    struct front *front = arg;
    struct to_back message = {.type = TO_BACK_DRAINED};

    (void)mailbox_post_reserved(front->to_back, &message, sizeof message);
}

static void stop_listeners(struct front *front)
{
    for (int role = 0; role < SOCKET_ROLES; role++)
        listener_stop(&front->listener[role]);
}

static void drain(struct front *front)
{
    stop_listeners(front);
    if (front->clients.count == 0) {
        report_drained(front);
        return;
    }
    front->clients.emptied = report_drained;
    clients_drain(&front->clients);
}

static void invalidate(struct front *front, const struct to_front *message)
{
    uint64_t *max_us = &front->metrics.value[METRIC_REVOCATION_LAG_MAX];
    int64_t changed_at_us = message->invalidate.changed_at_us;

    verdict_cache_remove(front->cache, &message->invalidate.digest);
    freshness_key_changed(&front->freshness, &message->invalidate.digest,
                          message->invalidate.heard_us);
    front->metrics.value[METRIC_INVALIDATIONS]++;
    if (changed_at_us == TIME_NEVER)
        return;
    uint64_t lag_us = (uint64_t)(clock_monotonic_us() - changed_at_us);
    histogram_record(&front->metrics.histogram[HISTOGRAM_REVOCATION_LAG_US], (int64_t)lag_us, 1);
    front->metrics.value[METRIC_REVOCATION_LAG] = lag_us;
    if (lag_us > *max_us)
        *max_us = lag_us;
}

/* Another sidecar has heard of a change: forget the key's verdict unless it was read later. */
static void take_tombstone(struct front *front, const struct to_front *message)
{
    const struct cached_verdict *cached =
        verdict_cache_peek(front->cache, &message->invalidate.digest);

    if (cached && !freshness_read_since(cached->read_at_us, message->invalidate.changed_at_us))
        verdict_cache_remove(front->cache, &message->invalidate.digest);
    freshness_key_changed(&front->freshness, &message->invalidate.digest,
                          message->invalidate.changed_at_us);
}

/* Whether it has attributes of its own. */
static bool is_answer(const struct to_front *message)
{
    return message->type == TO_FRONT_VERDICT || message->type == TO_FRONT_OUTDATED ||
           message->type == TO_FRONT_STALE;
}

static void handle_message(struct front *front, struct to_front *message)
{
    switch (message->type) {
    case TO_FRONT_VERDICT:
        check_answer(front, message);
        break;
    case TO_FRONT_OUTDATED:
        check_outdated(front, message);
        break;
    case TO_FRONT_STALE:
        if (message->answer.key_scheme == front->key_scheme)
            verdict_cache_put(front->cache, &message->answer.digest, &message->answer.verdict,
                              &front->freshness.limits);
        break;
    case TO_FRONT_INVALIDATE:
        invalidate(front, message);
        break;
    case TO_FRONT_TOMBSTONE:
        take_tombstone(front, message);
        break;
    case TO_FRONT_REPLY:
        operator_requests_reply(&front->operator_requests, message->ask,
                                buffer_held(&message->reply));
        buffer_free(&message->reply);
        break;
    case TO_FRONT_SWAP:
        swap_usage(front, message->half);
        break;
    case TO_FRONT_FRESHNESS:
        front_take_freshness(front, &message->freshness_inputs);
        break;
    case TO_FRONT_CONFIG:
        apply_config(front, message);
        break;
    case TO_FRONT_LISTEN:
        listener_move(&front->listener[message->listen.role], message->listen.fd);
        break;
    case TO_FRONT_QUOTA:
        quota_book_take(front->quotas, &message->quota_sum, front->usage_rounds);
        break;
    case TO_FRONT_STATS_POLL:
        front_answer_stats_poll(front, message->stats_poll);
        break;
    case TO_FRONT_DRAIN:
        drain(front);
        break;
    case TO_FRONT_STOP:
        front->stopped = true;
        break;
    }
    if (is_answer(message))
        attributes_free(&message->answer.verdict.attributes);
}

/* Number of messages taken together. The memory of all their verdicts is prefetched before the
 * first is handled. */
enum { MAIL_AHEAD = 16 };

/* Work for messages before requests are served again, in units: an invalidation costs 1. */
enum { MAIL_QUANTUM = 1024, ANSWER_COST = 16 };

/* Take messages from the back thread. */
static void hear_back(struct front *front)
{
    if (front_back_silent(front)) {
        front->metrics.value[METRIC_BACK_STANDSTILLS]++;
        front_log(front, LOG_LEVEL_WARNING,
                  "threads: the back thread stood still for %u s; checks were answered from "
                  "memory, stale, or UNAVAILABLE",
                  front->quiet_s);
    }
    front->quiet_s = 0;
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct front *front = arg;
    struct to_front message[MAIL_AHEAD];
    size_t len = MAIL_AHEAD, done = 0;

    (void)fd;
    (void)what;
    mailbox_clear_wake(front->to_front);
    front_tick(front);
    hear_back(front);
    while (len == MAIL_AHEAD && done < MAIL_QUANTUM) {
        for (len = 0; len < MAIL_AHEAD && mailbox_take(front->to_front, &message[len]); len++) {
            if (message[len].type == TO_FRONT_VERDICT)
                check_prefetch(front, &message[len].answer.digest);
        }
        for (size_t i = 0; i < len; i++) {
            handle_message(front, &message[i]);
            done += message[i].type == TO_FRONT_INVALIDATE ? 1 : ANSWER_COST;
        }
    }
    if (len == MAIL_AHEAD)
        mailbox_wake_again(front->to_front);
}

enum { SECOND_US = 1000000 };

/* Keys whose uses are known at a time, where keys have quotas: 8 MiB. */
enum { QUOTA_KEYS = 1 << 17 };

static void on_second(void *arg)
{
    struct front *front = arg;

    front_tick(front);
    front->quiet_s++;
    operator_requests_expire(&front->operator_requests,
                             front->now_us + SECOND_US); /* the next tick would be too late */
    if (front_back_silent(front))
        check_give_up(front);
    if (front->serves_timed)
        clients_cut_off(&front->clients, front->now_us - front->config->http_timeout);
}

static void start_listeners(struct front *front, const int fd[static SOCKET_ROLES])
{
    for (int role = 0; role < SOCKET_ROLES; role++) {
        if (fd[role] < 0 || !face[role])
            continue;
        listener_start(&front->listener[role], &front->clients, fd[role], face[role],
                       front->config);
        front->serves_timed = front->serves_timed || face[role]->timed;
    }
}

struct front *front_new(const struct front_setup *setup)
{
    struct front *front = calloc(1, sizeof *front);
    const struct config *config = setup->config;

    if (!front) {
        config_free(setup->config);
        key_hasher_free(setup->hasher);
        return NULL;
    }
    front->config = setup->config;
    struct freshness_policy policy = config_freshness_policy(config);
    freshness_init(&front->freshness, &policy);
    use_hasher(front, setup->hasher);
    front->to_back = setup->to_back;
    front->to_front = setup->to_front;
    use_half(front, setup->usage);
    front->clients = (struct clients){
        .metrics = &front->metrics,
        .begin = begin_requests,
        .end = end_requests,
        .refused = log_refused,
        .over_share = log_over_share,
        .arg = front,
    };
    clients_init(&front->clients);
    operator_requests_init(&front->operator_requests);
    for (int role = 0; role < SOCKET_ROLES; role++)
        front->listener[role].fd = -1;
    front->base = event_base_new();
    front->cache = verdict_cache_new(
        config->cache_memory, config->cache_negative_memory,
        (struct verdict_form){
            .id_type = (enum id_type)config->postgres_id_type,
            .windows = config_has_windows(config),
            .attribute_bytes = config_has_attributes(config) ? config->cache_attribute_memory : 0,
        },
        setup->seed);
    front->refused = refused_keys_new((enum id_type)config->postgres_id_type, clock_wall_us());
    if (config_has_quotas(config))
        front->quotas =
            quota_book_new(QUOTA_KEYS, (enum id_type)config->postgres_id_type, setup->seed);
    if ((config_has_quotas(config) && !front->quotas) || !front->base || !front->cache ||
        !front->refused || !check_init(front, setup->seed))
        goto fail;
    front->mail =
        event_new(front->base, front->to_front->wake_fd, EV_READ | EV_PERSIST, on_mail, front);
    if (!front->mail || event_add(front->mail, NULL) != 0 ||
        !fd_timer_init(&front->second, front->base, on_second, front))
        goto fail;
    front->clients.base = front->base;
    start_listeners(front, setup->fd);
    front->admission.max = config->postgres_max_pending;
    front->clients.pending_replies_max = admission_connection_max(&front->admission);
    fd_timer_set(&front->second, SECOND_US, SECOND_US);
    front_tick(front);
    return front;

fail:
    front_free(front);
    return NULL;
}

/* Lookups of a deep pipeline should go in large batches: while each loop iteration adds more of
 * them, the back thread is not woken, for at most this many iterations or messages. */
enum { GATHER_ITERATIONS = 32, GATHER_MAX = 512 };

void front_run(struct front *front)
{
    bool idle = true;
    unsigned iterations = 0; /* since the first message that has not woken the back thread */

    while (!front->stopped) {
        size_t posted = front->to_back->posted;

        event_base_loop(front->base, idle ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
        idle = clients_run_ready(&front->clients);
        iterations = posted > 0 ? iterations + 1 : 0;
        if (idle || front->to_back->posted == posted || posted >= GATHER_MAX ||
            iterations >= GATHER_ITERATIONS)
            mailbox_wake(front->to_back);
    }
}

static void discard_config(struct to_front *message)
{
    config_free(message->configured.config);
    key_hasher_free(message->configured.hasher);
}

/* Free the contents of messages that were not taken. */
static void discard_mail(struct front *front)
{
    struct to_front reply;
    struct to_back request;

    while (mailbox_take(front->to_front, &reply)) {
        if (reply.type == TO_FRONT_REPLY)
            buffer_free(&reply.reply);
        else if (reply.type == TO_FRONT_CONFIG)
            discard_config(&reply);
        else if (is_answer(&reply))
            attributes_free(&reply.answer.verdict.attributes);
    }
    while (mailbox_take(front->to_back, &request)) {
        if (request.type == TO_BACK_REPORT)
            free(request.report.metrics);
        if (request.type == TO_BACK_STATS)
            free(request.stats.metrics);
        if (request.type == TO_BACK_REFUSED)
            free(request.refused);
        if (request.type == TO_BACK_EXPLAIN)
            attributes_free(&request.explain.verdict.attributes);
    }
}

void front_free(struct front *front)
{
    if (!front)
        return;
    front->clients.emptied = NULL;
    clients_done(&front->clients);
    discard_mail(front);
    stop_listeners(front);
    fd_timer_done(&front->second);
    if (front->mail)
        event_free(front->mail);
    check_done(front);
    buffer_free(&front->spare_requests);
    key_hasher_free(front->hasher);
    freshness_done(&front->freshness);
    verdict_cache_free(front->cache);
    quota_book_free(front->quotas);
    free(front->refused);
    if (front->base)
        event_base_free(front->base);
    config_free(front->config);
    free(front);
}
