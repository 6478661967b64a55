/* SPDX-License-Identifier: MIT */
#include <apikeyd/back/back.h>

#include <inttypes.h>
#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/changes/feed_postgres.h>
#include <apikeyd/changes/feed_redis.h>
#include <apikeyd/changes/lease.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/lookup/resolver.h>
#include <apikeyd/observe/denial_log.h>
#include <apikeyd/observe/metrics_server.h>
#include <apikeyd/observe/monitor.h>
#include <apikeyd/observe/report.h>
#include <apikeyd/postgres/pg_ages.h>
#include <apikeyd/thread/back_env.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/usage/flusher.h>
#include <apikeyd/wire/resp_reply.h>

#include "ending_keys.h"
#include "refused_reply.h"
#include "reload.h"

enum stage { SERVING, LINGERING, DRAINING_CLIENTS, DRAINING_USAGE, SAVING_USAGE };

struct back {
    struct back_env env;
    struct config *config;
    const char *config_path;
    struct mailbox *to_back;
    struct resolver *resolver;
    struct lease *lease;
    struct feed_postgres *feed; /* NULL: the daemon hears of changes from relays only */
    struct feed_redis *relayed; /* NULL: not from relays */
    struct flusher *flusher;
    struct pg_ages *ages;
    struct ending_keys *ending;
    struct event mail, drain_timer;
    enum stage stage;
    int64_t drain_began_us; /* monotonic */
    bool stopped;
    bool usage_first;      /* of two users of the idle session of the change feed */
    uint64_t stale_checks; /* checks answered stale, at the last look, … */
    int64_t stale_seen_us; /* … and when that number last rose; or TIME_NEVER */
    const char *front_cpu; /* what became of listen.cpu; NULL: not known yet */
    struct monitor *monitor;
    struct metrics_server *metrics_server; /* NULL: none */
    struct events events;
    struct busy_keys *busy_keys; /* NULL: uses are not counted */
    int64_t started_us;          /* monotonic */
    struct denial_log denials;
    struct log log; /* where lines go on from env.log */
    const struct log_writer *log_writer;
    void (*on_alive)(void *arg, const struct status_snapshot *snapshot);
    void *alive_arg;
};

static void on_counts(void *arg, const struct count_row *rows, size_t len)
{
    struct back *back = arg;
    uint64_t uses = 0;

    for (size_t i = 0; i < len; i++) {
        uses += rows[i].uses;
        if (i + 1 < len && row_id_order(&rows[i].id, &rows[i + 1].id) == 0)
            continue;
        busy_keys_add(back->busy_keys, &rows[i].id, uses);
        uses = 0;
    }
    busy_keys_end(back->busy_keys, clock_monotonic_us() - back->started_us);
}

static int64_t pending_usage_of(void *arg, const struct row_id *api_key_id)
{
    struct back *back = arg;

    return flusher_pending_last_used(back->flusher, api_key_id);
}

/* For so long after a stale answer, stale verdicts count as being served. */
static const int64_t stale_memory_us = 2000000;

/* The bound on a revocation now: the feed's; or cache.stale_max's while verdicts are served stale,
 * or may be at any moment because no store answers lookups. */
static const char *revocation_bound(struct back *back, const struct metrics *total, int64_t now_us)
{
    struct bound bound = lease_bound(back->lease);
    uint64_t stale = 0;

    for (enum verdict_kind kind = VERDICT_ALLOW; kind <= VERDICT_LAST; kind++)
        stale += total->value[metric_of_check(kind, TIER_STALE)];
    if (stale != back->stale_checks)
        back->stale_seen_us = now_us;
    back->stale_checks = stale;
    bool serving =
        back->stale_seen_us != TIME_NEVER && now_us - back->stale_seen_us < stale_memory_us;
    if ((serving || freshness_no_lookups(&back->env.freshness) ||
         resolver_failing(back->resolver)) &&
        back->config->cache_stale_max > bound.us)
        return "cache.stale_max: lookups are not answered, and verdicts are served stale";
    return bound.text;
}

/* Returns whether a verdict on an existing key, read at that time, may still be served, even
 * stale. */
static bool of_use(const struct back *back, int64_t read_at_us)
{
    return freshness_of(&back->env.freshness, NULL, VERDICT_ALLOW, read_at_us) > USE_NEVER;
}

/* Which stores can answer a check now. A value in Redis lives for cache.ttl. */
static void look_who_answers(struct back *back, struct status_snapshot *snapshot, int64_t now_us)
{
    int64_t in_redis_us = resolver_newest_in_redis(back->resolver);

    freshness_tick(&back->env.freshness, now_us);
    snapshot->redis_dated = back->env.clock.known;
    snapshot->postgres_answers = resolver_answers(back->resolver);
    snapshot->redis_servable = of_use(back, in_redis_us) &&
                               freshness_read_since(in_redis_us, now_us - back->config->cache_ttl);
    snapshot->memory_servable = of_use(back, resolver_newest_in_memory(back->resolver));
    snapshot->total.value[METRIC_POSTGRES_ANSWERS] = snapshot->postgres_answers;
}

/* The gauges of the back's parts. */
static void look(void *arg, struct status_snapshot *snapshot)
{
    struct back *back = arg;
    uint64_t *value = snapshot->total.value;
    int64_t now_us = clock_monotonic_us();

    value[METRIC_POSTGRES_WANTED] = back->config->postgres_connections;
    value[METRIC_POSTGRES_UP] = resolver_connections_up(back->resolver);
    value[METRIC_POSTGRES_OLDEST] = (uint64_t)pg_ages_oldest_us(&back->env, now_us);
    value[METRIC_KEYS_ENDING] = ending_keys_count(back->ending);
    value[METRIC_REDIS_CONFIGURED] = back->config->redis_url[0] != '\0';
    value[METRIC_FEED_UP] = lease_up(back->lease);
    value[METRIC_FRONT_CPU_CONFIGURED] = back->config->listen_cpu[0] != '\0';
    if (back->log_writer) {
        value[METRIC_LOG_LINES_QUEUED] = log_writer_queued(back->log_writer);
        value[METRIC_LOG_LINES_DROPPED] += log_writer_dropped(back->log_writer);
    }
    flusher_look(back->flusher, &snapshot->total);
    look_who_answers(back, snapshot, now_us);
    snapshot->revocation_bound = revocation_bound(back, &snapshot->total, now_us);
    snapshot->lookup_fault = resolver_fault(back->resolver);
    snapshot->front_cpu = back->front_cpu;
    snapshot->has_store = back->env.stores.has_current;
    snapshot->store = back->env.stores.current;
    snapshot->stopping = back->stage != SERVING;
    snapshot->events = &back->events;
    snapshot->busy_keys = back->busy_keys;
}

static void take_report(struct back *back, const struct to_back *message)
{
    struct buffer text = {0};
    struct buffer reply = {0};
    struct status_snapshot snapshot;

    monitor_snapshot(back->monitor, message->report.metrics, &snapshot);
    free(message->report.metrics);
    report_print(message->report.kind, message->report.section, &snapshot, &text);
    resp_verbatim(&reply, buffer_held(&text), message->resp3);
    buffer_free(&text);
    back_env_reply(&back->env, message->ask, &reply);
}

static void take_refused(struct back *back, const struct to_back *message)
{
    struct buffer reply = refused_reply(message->refused, message->resp3);

    free(message->refused);
    back_env_reply(&back->env, message->ask, &reply);
}

static void take_stats(struct back *back, const struct to_back *message)
{
    monitor_answer(back->monitor, message->stats.id, message->stats.metrics);
    free(message->stats.metrics);
}

/* Refusals do not push other events off the status page. */
static struct log denials_log(const struct back *back)
{
    struct log log = back->log;

    log.level = back->env.log.level;
    return log;
}

static void take_denial(const struct back *back, const struct to_back *message)
{
    struct log log = denials_log(back);

    denial_log_write(&log, &message->denial);
}

static void on_alive(void *arg, const struct status_snapshot *snapshot)
{
    struct back *back = arg;
    struct log log = denials_log(back);

    denial_log_tick(&back->denials, (enum log_denials)back->config->log_denials,
                    clock_monotonic_us(), &snapshot->total, &log);
    if (back->on_alive)
        back->on_alive(back->alive_arg, snapshot);
}

/* The status page also shows each log line. */
static void on_log_line(void *arg, enum log_level level, const struct log_place *place,
                        const char *line)
{
    struct back *back = arg;

    back->log.sink(back->log.arg, level, place, line);
    if (level <= LOG_LEVEL_INFO)
        events_add(&back->events, clock_wall_us(), level, line);
}

static void invalidate(struct back *back, const struct digest *digest, int64_t changed_at_us)
{
    struct to_front order = {.type = TO_FRONT_INVALIDATE};

    order.invalidate.heard_us = clock_monotonic_us();
    resolver_invalidate(back->resolver, digest, order.invalidate.heard_us);
    order.invalidate.digest = *digest;
    order.invalidate.changed_at_us = changed_at_us;
    /* Every verdict that is sent to the front thread after this message was read after it. */
    back_env_post(&back->env, &order);
}

static void invalidate_all(struct back *back)
{
    back->env.metrics.value[METRIC_INVALIDATIONS]++;
    freshness_everything_changed(&back->env.freshness, clock_monotonic_us());
    back_env_post_freshness(&back->env);
}

static void take_invalidate(struct back *back, const struct to_back *message)
{
    struct buffer reply = {0};

    if (message->invalidate.all)
        invalidate_all(back);
    for (size_t i = 0; !message->invalidate.all && i < message->invalidate.digests.len; i++)
        invalidate(back, &message->invalidate.digests.of[i], TIME_NEVER);
    resp_simple(&reply, "OK");
    back_env_reply(&back->env, message->ask, &reply);
}

static void on_change(void *arg, const struct digest *digest, int64_t changed_at_us)
{
    struct back *back = arg;

    if (digest)
        invalidate(back, digest, changed_at_us);
    else
        invalidate_all(back);
}

/* A probe finds out whether PostgreSQL answers before freshness ends and every hit becomes a miss.
 */
static void on_doubt(void *arg)
{
    struct back *back = arg;

    resolver_probe(back->resolver, false);
}

/* PostgreSQL is back: no connection may wait for its next attempt, or hang. */
static void on_feed_up(void *arg, bool up)
{
    struct back *back = arg;

    resolver_feed_is(back->resolver, up);
    flusher_feed_is(back->flusher, up);
    ending_keys_feed_is(back->ending, up);
    if (up)
        resolver_probe(back->resolver, true);
}

static void on_heartbeat(void *arg)
{
    struct back *back = arg;

    resolver_heartbeat(back->resolver);
}

/* Lookups and usage take turns: endless misses would leave no turn to usage. */
static void on_feed_idle(void *arg)
{
    struct back *back = arg;

    back->usage_first = !back->usage_first;
    if (back->usage_first)
        flusher_feed_idle(back->flusher);
    resolver_go(back->resolver);
    if (!back->usage_first)
        flusher_feed_idle(back->flusher);
    ending_keys_feed_idle(back->ending);
}

static void on_home(void *arg)
{
    struct back *back = arg;

    flusher_home_changed(back->flusher);
    feed_redis_home_changed(back->relayed);
}

static bool lookups_agree(void *arg, int64_t since_us)
{
    struct back *back = arg;

    return resolver_agrees(back->resolver, since_us);
}

static bool lend(void *arg, const struct pg_query *query)
{
    struct back *back = arg;

    return back->feed && feed_postgres_lend(back->feed, query);
}

/* A server on an earlier timeline than another one is refused. Only the operator knows whether the
 * later one is the primary, or a copy promoted by mistake. */
static void forget_later_stores(struct back *back)
{
    if (!stores_forget_later(&back->env.stores))
        return;
    log_warning(&back->env.log, "reload: earlier timelines are forgotten; the server that answers "
                                "now is accepted, and every verdict is looked up again");
    invalidate_all(back);
}

static void reload(struct back *back, struct buffer *reply)
{
    if (!reload_config(&back->env, &back->config, back->config_path, reply))
        return;
    flusher_configure(back->flusher);
    resolver_configure(back->resolver);
    forget_later_stores(back);
    feed_postgres_configure(back->feed);
    feed_redis_configure(back->relayed);
    ending_keys_hurry(back->ending);
}

void back_reload(struct back *back)
{
    struct buffer reply = {0};

    reload(back, &reply);
    buffer_free(&reply);
}

/* The timer fires when so many quarters of listen.drain_timeout have passed. */
static void arm_drain_timer(struct back *back, int64_t quarters)
{
    int64_t end_us = back->drain_began_us + back->config->listen_drain_timeout * quarters / 4;

    timer_start(&back->drain_timer, end_us - clock_monotonic_us());
}

static void drain_usage(struct back *back)
{
    back->stage = DRAINING_USAGE;
    arm_drain_timer(back, 3);
    flusher_drain(back->flusher);
}

static void handle_message(struct back *back, const struct to_back *message)
{
    struct buffer reply = {0};

    switch (message->type) {
    case TO_BACK_LOOKUP:
    case TO_BACK_EXPLAIN:
        resolver_add(back->resolver, message);
        break;
    case TO_BACK_INVALIDATE:
        take_invalidate(back, message);
        break;
    case TO_BACK_FLUSH:
        flusher_request(back->flusher, message->ask);
        break;
    case TO_BACK_REPORT:
        take_report(back, message);
        break;
    case TO_BACK_REFUSED:
        take_refused(back, message);
        break;
    case TO_BACK_STATS:
        take_stats(back, message);
        break;
    case TO_BACK_RELOAD:
        reload(back, &reply);
        back_env_reply(&back->env, message->ask, &reply);
        break;
    case TO_BACK_SWAPPED:
        flusher_swapped(back->flusher, message->half);
        break;
    case TO_BACK_USAGE_FULL:
        flusher_start(back->flusher);
        break;
    case TO_BACK_LOG:
        log_line(&back->env.log, message->line.level, &message->line.place, "%s",
                 message->line.text);
        break;
    case TO_BACK_CLOCK_JUMP:
        back_env_clock_jump(&back->env, message->jump.at_us, message->jump.jump_us);
        feed_postgres_heartbeat(back->feed);
        break;
    case TO_BACK_DENIAL:
        take_denial(back, message);
        break;
    case TO_BACK_QUOTA:
        flusher_ask_quota(back->flusher, &message->quota_of);
        break;
    case TO_BACK_DRAINED:
        if (back->stage == DRAINING_CLIENTS)
            drain_usage(back);
        break;
    }
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct back *back = arg;
    struct to_back message;

    (void)fd;
    (void)what;
    mailbox_clear_wake(back->to_back);
    while (mailbox_take(back->to_back, &message))
        handle_message(back, &message);
    explicit_bzero(&message, sizeof message);
    resolver_go(back->resolver);
}

static void on_drained(void *arg)
{
    struct back *back = arg;

    flusher_tell_rest(back->flusher);
    back->stopped = true;
}

static void drain_clients(struct back *back)
{
    back->stage = DRAINING_CLIENTS;
    back->drain_began_us = clock_monotonic_us();
    arm_drain_timer(back, 2);
    back_env_post(&back->env, &(struct to_front){.type = TO_FRONT_DRAIN});
}

/* Half of the time is for the clients, the next quarter for PostgreSQL to take usage in any case,
 * and the last quarter for the disk to store usage that PostgreSQL did not take. */
static void on_drain_timer(evutil_socket_t fd, short what, void *arg)
{
    struct back *back = arg;

    (void)fd;
    (void)what;
    switch (back->stage) {
    case LINGERING:
        drain_clients(back);
        break;
    case DRAINING_CLIENTS:
        log_warning(&back->env.log,
                    "stop: clients do not take their replies; continuing without them");
        drain_usage(back);
        break;
    case DRAINING_USAGE:
        back->stage = SAVING_USAGE;
        arm_drain_timer(back, 4);
        flusher_save(back->flusher);
        break;
    case SAVING_USAGE:
        flusher_tell_rest(back->flusher);
        back->stopped = true;
        break;
    case SERVING:
        break;
    }
}

void back_drain(struct back *back)
{
    int64_t linger_us = back->stage == SERVING ? back->config->listen_linger : 0;

    if (back->stage > LINGERING)
        return;
    if (linger_us == 0) {
        drain_clients(back);
        return;
    }
    back->stage = LINGERING;
    log_info(&back->env.log, "stop: answering for %" PRId64 " ms more (listen.linger)",
             linger_us / 1000);
    timer_start(&back->drain_timer, linger_us);
    flusher_start(back->flusher); /* the sooner it is written, the less the end has to write */
}

bool back_lingers(const struct back *back)
{
    return back->stage == LINGERING;
}

int64_t back_stop_max_us(const struct back *back)
{
    return back->config->listen_linger + back->config->listen_drain_timeout;
}

const struct log *back_log(const struct back *back)
{
    return &back->env.log;
}

void back_move_listener(struct back *back, enum socket_role role, int fd)
{
    back->env.metrics.value[METRIC_SOCKETS_REBOUND]++;
    back_env_post(&back->env,
                  &(struct to_front){.type = TO_FRONT_LISTEN, .listen = {.role = role, .fd = fd}});
}

void back_set_sockets_lost(struct back *back, size_t count)
{
    back->env.metrics.value[METRIC_SOCKETS_LOST] = count;
}

void back_set_front_cpu(struct back *back, bool held, uint64_t losses, const char *description)
{
    back->env.metrics.value[METRIC_FRONT_CPU_HELD] = held;
    back->env.metrics.value[METRIC_FRONT_CPU_LOSSES] = losses;
    back->front_cpu = description;
}

struct event_base *back_base(struct back *back)
{
    return back->env.base;
}

/* One feed is enough, and both may be. */
static bool open_feeds(struct back *back)
{
    uint64_t source = back->config->feed_source;

    if (source != FEED_SOURCE_REDIS)
        back->feed = feed_postgres_new(&(struct feed_postgres_setup){
            .env = &back->env,
            .lease = back->lease,
            .on_doubt = on_doubt,
            .on_up = on_feed_up,
            .on_heartbeat = on_heartbeat,
            .on_idle = on_feed_idle,
            .arg = back,
        });
    if (source != FEED_SOURCE_POSTGRES)
        back->relayed = feed_redis_new(&(struct feed_redis_setup){
            .env = &back->env,
            .lease = back->lease,
            .on_clock_due = on_heartbeat,
            .arg = back,
        });
    return (back->feed || source == FEED_SOURCE_REDIS) &&
           (back->relayed || source == FEED_SOURCE_POSTGRES);
}

struct back *back_new(struct back_setup *setup)
{
    struct back *back = calloc(1, sizeof *back);

    if (!back) {
        config_free(setup->config);
        key_hasher_free(setup->hasher);
        usage_batch_free(&setup->spilled);
        return NULL;
    }
    back->config = setup->config;
    back->config_path = setup->config_path;
    back->to_back = setup->to_back;
    back->stale_seen_us = TIME_NEVER;
    back->log = setup->log;
    back->log_writer = setup->log_writer;
    back->on_alive = setup->on_alive;
    back->alive_arg = setup->alive_arg;
    back->env = (struct back_env){
        .config = setup->config,
        .hasher = setup->hasher,
        .redis_password = setup->redis_password,
        .redis_sentinel_password = setup->redis_sentinel_password,
        .redis_secret = setup->redis_secret,
        .log = {.level = setup->log.level, .sink = on_log_line, .arg = back},
        .to_front = setup->to_front,
    };
    back->env.metrics.value[METRIC_USAGE_CLAMPED] = setup->judged.clamped;
    back->env.metrics.value[METRIC_USAGE_LOST] = setup->judged.dropped;
    back->env.metrics.value[METRIC_COUNTS_LOST] = setup->judged.uncounted;
    if (!back_env_open(&back->env))
        goto fail;
    event_assign(&back->mail, back->env.base, back->to_back->wake_fd, EV_READ | EV_PERSIST, on_mail,
                 back);
    event_assign(&back->drain_timer, back->env.base, -1, 0, on_drain_timer, back);
    event_add(&back->mail, NULL);
    back->started_us = clock_monotonic_us();
    if (back->config->usage_counts != USAGE_COUNTS_OFF) {
        back->busy_keys = busy_keys_new((enum id_type)back->config->postgres_id_type);
        if (!back->busy_keys)
            goto fail;
    }
    back->flusher = flusher_new(&(struct flusher_setup){
        .env = &back->env,
        .ledger = setup->ledger,
        .half = setup->half,
        .spilled = setup->spilled,
        .counts = setup->counts,
        .spill = setup->spill,
        .on_drained = on_drained,
        .on_counts = on_counts,
        .lend = lend,
        .arg = back,
    });
    setup->spilled = (struct usage_batch){0};
    back->resolver = resolver_new(&(struct resolver_setup){
        .env = &back->env,
        .pending = pending_usage_of,
        .on_home = on_home,
        .lend = lend,
        .arg = back,
    });
    back->lease = lease_new(&(struct lease_setup){
        .env = &back->env,
        .on_change = on_change,
        .lookups_agree = lookups_agree,
        .arg = back,
    });
    if (!back->flusher || !back->resolver || !back->lease)
        goto fail;
    back->ending =
        ending_keys_new(&(struct ending_keys_setup){.env = &back->env, .lend = lend, .arg = back});
    if (!back->ending)
        goto fail;
    back->ages = pg_ages_new(&back->env);
    if (!open_feeds(back) || !back->ages)
        goto fail;
    back->monitor = monitor_new(&(struct monitor_setup){
        .env = &back->env,
        .look = look,
        .on_alive = on_alive,
        .arg = back,
        .tick_us = setup->tick_us,
    });
    if (!back->monitor)
        goto fail;
    if (setup->metrics_fd >= 0)
        back->metrics_server = metrics_server_new(back->env.base, back->monitor, setup->metrics_fd);
    if (setup->metrics_fd >= 0 && !back->metrics_server)
        goto fail;
    return back;

fail:
    usage_batch_free(&setup->spilled);
    (void)back_free(back);
    return NULL;
}

void back_run(struct back *back)
{
    /* One wake, at the end of a loop iteration, announces all its messages. */
    while (!back->stopped) {
        event_base_loop(back->env.base, EVLOOP_ONCE);
        mailbox_wake(back->env.to_front);
    }
}

bool back_free(struct back *back)
{
    if (!back)
        return true;
    back->env.front_gone = true;
    monitor_free(back->monitor);
    metrics_server_free(back->metrics_server);
    pg_ages_free(back->ages);
    if (back->resolver)
        resolver_feed_is(back->resolver, false);
    if (back->flusher)
        flusher_feed_is(back->flusher, false);
    feed_postgres_free(back->feed);
    back->feed = NULL;
    feed_redis_free(back->relayed);
    back->relayed = NULL;
    ending_keys_free(back->ending);
    lease_free(back->lease);
    back->lease = NULL;
    resolver_free(back->resolver);
    bool files_free = flusher_free(back->flusher);
    busy_keys_free(back->busy_keys);
    if (event_initialized(&back->mail)) {
        event_del(&back->mail);
        event_del(&back->drain_timer);
    }
    back_env_close(&back->env);
    config_free(back->config);
    key_hasher_free(back->env.hasher);
    free(back);
    return files_free;
}
