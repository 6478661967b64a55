/* SPDX-License-Identifier: MIT */
#include "apikeyd/back.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/back_env.h"
#include "apikeyd/clock.h"
#include "apikeyd/flusher.h"
#include "apikeyd/info.h"
#include "apikeyd/link.h"
#include "apikeyd/resolver.h"
#include "apikeyd/resp_reply.h"

enum stage { SERVING, DRAINING_CLIENTS, DRAINING_USAGE };

struct back {
    struct back_env env;
    struct config *config;
    const char *config_path;
    struct mailbox *to_back;
    struct resolver *resolver;
    struct link *link;
    struct flusher *flusher;
    struct event mail, drain_timer;
    enum stage stage;
    bool stopped;
    int64_t started_us;
};

static int64_t pending_usage_of(void *arg, const struct uuid *api_key_id)
{
    struct back *back = arg;

    return flusher_pending_last_used(back->flusher, api_key_id);
}

static void reply_info(struct back *back, const struct to_back *message)
{
    struct info_server server = {
        .uptime_us = clock_monotonic_us() - back->started_us,
        .revocation_bound = link_bound(back->link),
    };
    struct counters *counters = message->info.counters;
    struct buffer reply;

    back->env.counters.value[COUNT_POSTGRES_UP] = resolver_connections_up(back->resolver);
    back->env.counters.value[COUNT_LINK_UP] = link_up(back->link);
    back->env.counters.value[COUNT_USAGE_PENDING] = flusher_pending(back->flusher);
    counters_add(counters, &back->env.counters);
    if (message->info.metrics)
        reply = metrics_reply(counters);
    else
        reply = info_reply(&server, counters, message->info.section);
    free(counters);
    back_env_reply(&back->env, message->hole, &reply);
}

static void invalidate(struct back *back, const struct digest *digest, int64_t changed_at_us)
{
    struct to_front order = {.type = TO_FRONT_INVALIDATE};

    resolver_invalidate(back->resolver, digest);
    order.invalidate.digest = *digest;
    order.invalidate.changed_at_us = changed_at_us;
    /* Whatever the front is sent after this was read after this. */
    back_env_post(&back->env, &order);
}

static void invalidate_all(struct back *back)
{
    back->env.counters.value[COUNT_INVALIDATIONS]++;
    back->env.grounds.floor_us = clock_monotonic_us();
    back->env.grounds.forgotten_us = back->env.grounds.floor_us;
    back_env_post_grounds(&back->env);
}

static void take_invalidate(struct back *back, const struct to_back *message)
{
    struct buffer reply = {0};

    if (message->invalidate.all)
        invalidate_all(back);
    else
        invalidate(back, &message->invalidate.digest, TIME_NEVER);
    resp_simple(&reply, "OK");
    back_env_reply(&back->env, message->hole, &reply);
}

static void on_change(void *arg, const struct digest *digest, int64_t changed_at_us)
{
    struct back *back = arg;

    if (digest)
        invalidate(back, digest, changed_at_us);
    else
        invalidate_all(back);
}

/* Better to know that PostgreSQL does not answer before trust ends and every hit becomes a miss;
 * and when it is back, not to wait for the next attempt. */
static void on_doubt(void *arg)
{
    struct back *back = arg;

    resolver_probe(back->resolver);
}

/* Load the file and put it into force. Names of options that need a restart go to `restart`;
 * false, with the reasons in `errors` and nothing changed, when the file is bad. */
static bool reload(struct back *back, struct buffer *restart, struct buffer *errors)
{
    struct config *next = config_load(back->config_path, errors);
    struct config *copy;

    if (!next)
        return false;
    config_keep_fixed(next, back->config, restart);
    copy = config_copy(next);
    if (!copy) {
        buffer_printf(errors, "memory is short\n");
        config_free(next);
        return false;
    }
    config_free(back->config);
    back->config = next;
    back->env.config = next;
    back->env.log.level = (enum log_level)next->log_level;
    flusher_configure(back->flusher);
    link_configure(back->link);
    back_env_post(&back->env, &(struct to_front){.type = TO_FRONT_CONFIG, .config = copy});
    return true;
}

/* Lines become one: "a, b". */
static void join_lines(struct buffer *text)
{
    buffer_append(text, "", 1);
    for (char *at = text->data; *at; at++) {
        if (*at == '\n')
            *at = at[1] ? ' ' : '\0';
    }
}

static void reload_and_report(struct back *back, struct buffer *reply)
{
    struct buffer restart = {0};
    struct buffer errors = {0};
    bool reloaded = reload(back, &restart, &errors);

    join_lines(&restart);
    join_lines(&errors);
    if (!reloaded) {
        log_error(&back->env.log, "reload: nothing changed: %s", errors.data);
        resp_error(reply, "ERR nothing changed: %s", errors.data);
    } else if (restart.data[0]) {
        log_warning(&back->env.log, "reloaded; these need a restart: %s", restart.data);
        buffer_printf(reply, "+OK, but these need a restart: %s\r\n", restart.data);
    } else {
        log_info(&back->env.log, "reloaded");
        resp_simple(reply, "OK");
    }
    buffer_free(&restart);
    buffer_free(&errors);
}

void back_reload(struct back *back)
{
    struct buffer reply = {0};

    reload_and_report(back, &reply);
    buffer_free(&reply);
}

static void drain_usage(struct back *back)
{
    back->stage = DRAINING_USAGE;
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
        flusher_request(back->flusher, message->hole);
        break;
    case TO_BACK_INFO:
        reply_info(back, message);
        break;
    case TO_BACK_RELOAD:
        reload_and_report(back, &reply);
        back_env_reply(&back->env, message->hole, &reply);
        break;
    case TO_BACK_SWAPPED:
        flusher_swapped(back->flusher, message->half);
        break;
    case TO_BACK_USAGE_FULL:
        flusher_start(back->flusher);
        break;
    case TO_BACK_LOG:
        log_write(&back->env.log, message->line.level, "%s", message->line.text);
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
    size_t pending = flusher_pending(back->flusher);

    if (pending > 0)
        log_warning(&back->env.log, "%zu keys' last_used could not be written; they wait in %s",
                    pending, back->config->usage_ledger);
    back->stopped = true;
}

static void arm_drain_timer(struct back *back)
{
    struct timeval half = clock_timeval(back->config->listen_drain_timeout / 2);

    event_add(&back->drain_timer, &half);
}

/* Half of the time is for the clients, half for writing usage. */
static void on_drain_timer(evutil_socket_t fd, short what, void *arg)
{
    struct back *back = arg;

    (void)fd;
    (void)what;
    if (back->stage == DRAINING_CLIENTS) {
        log_warning(&back->env.log, "clients do not take their replies; going on without them");
        arm_drain_timer(back);
        drain_usage(back);
    } else {
        log_warning(&back->env.log, "PostgreSQL does not take usage in time; it waits in %s",
                    back->config->usage_ledger);
        back->stopped = true;
    }
}

void back_drain(struct back *back)
{
    if (back->stage != SERVING)
        return;
    back->stage = DRAINING_CLIENTS;
    arm_drain_timer(back);
    back_env_post(&back->env, &(struct to_front){.type = TO_FRONT_DRAIN});
}

struct event_base *back_base(struct back *back)
{
    return back->env.base;
}

static struct event_base *precise_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    /* Time-outs of a few milliseconds matter here; the default clock is coarser than that. */
    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}

struct back *back_new(struct back_setup *setup)
{
    struct back *back = calloc(1, sizeof *back);

    if (!back) {
        config_free(setup->config);
        usage_batch_free(&setup->spilled);
        return NULL;
    }
    back->config = setup->config;
    back->config_path = setup->config_path;
    back->to_back = setup->to_back;
    back->started_us = clock_monotonic_us();
    back->env = (struct back_env){
        .base = precise_base(),
        .config = setup->config,
        .redis_password = setup->redis_password,
        .redis_secret = setup->redis_secret,
        .log = setup->log,
        .to_front = setup->to_front,
        .grounds = no_grounds,
    };
    if (!back->env.base)
        goto fail;
    back->env.dns = evdns_base_new(back->env.base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
                                                       EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!back->env.dns) /* no name server is configured: /etc/hosts has to do */
        back->env.dns = evdns_base_new(back->env.base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!back->env.dns)
        goto fail;
    evdns_base_load_hosts(back->env.dns, "/etc/hosts");
    event_assign(&back->mail, back->env.base, back->to_back->wake_fd, EV_READ | EV_PERSIST, on_mail,
                 back);
    event_assign(&back->drain_timer, back->env.base, -1, 0, on_drain_timer, back);
    event_add(&back->mail, NULL);
    back->flusher = flusher_new(&(struct flusher_setup){
        .env = &back->env,
        .half = setup->half,
        .spilled = setup->spilled,
        .spill = setup->spill,
        .on_drained = on_drained,
        .arg = back,
    });
    setup->spilled = (struct usage_batch){0};
    back->resolver = resolver_new(&back->env, pending_usage_of, back);
    back->link = link_new(&(struct link_setup){
        .env = &back->env,
        .on_change = on_change,
        .on_doubt = on_doubt,
        .arg = back,
    });
    if (!back->flusher || !back->resolver || !back->link)
        goto fail;
    return back;

fail:
    usage_batch_free(&setup->spilled);
    back_free(back);
    return NULL;
}

void back_run(struct back *back)
{
    /* What one turn of the loop has posted is announced once, at its end. */
    while (!back->stopped) {
        event_base_loop(back->env.base, EVLOOP_ONCE);
        mailbox_wake(back->env.to_front);
    }
}

void back_free(struct back *back)
{
    if (!back)
        return;
    back->env.front_gone = true;
    link_free(back->link);
    resolver_free(back->resolver);
    flusher_free(back->flusher);
    if (back->env.dns)
        evdns_base_free(back->env.dns, 0);
    if (back->env.base) {
        event_del(&back->mail);
        event_del(&back->drain_timer);
        event_base_free(back->env.base);
    }
    config_free(back->config);
    free(back);
}
