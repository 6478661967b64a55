/* SPDX-License-Identifier: MIT */
#include "redis_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/base/outage.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/config/redis_url.h>
#include <apikeyd/thread/timer.h>

#include "redis_hosts.h"
#include "redis_send.h"
#include "redis_sentinels.h"
#include "redis_tls.h"

enum { FAILURES_MAX = 5, WHY_SIZE = 256, REASONS_MAX = 3 };

enum state { WAITING, LOADING, ASKING, RESOLVING, TRYING, UP };

static const int64_t try_timeout_us = 1000000; /* for files, the name, and each address */
static const int64_t tick_us = 1000000;
static const int64_t look_us = 10000000;   /* whether the master has moved */
static const int64_t silence_us = 2000000; /* a reply may be later than redis.timeout by this */
static const int64_t settled_us = 1000000; /* up for so long: a loss is tried again at once */
static const int64_t steady_us = 5000000;  /* an outage is over */
static const int64_t reason_us = 60000000; /* another reason of it may be logged */

struct redis_link {
    struct back_env *env;
    const struct redis_link_role *role;
    struct redis_url url;
    enum state state;
    bool writes;                       /* Redis accepts writes */
    struct redis_tls *tls;             /* NULL: without */
    struct redis_sentinels *sentinels; /* NULL: the URL names Redis itself */
    struct redis_master master;        /* that is tried, or in use */
    struct redis_host host;            /* Redis's, … */
    struct redis_hosts *hosts;     /* … and its addresses; NULL until sentinels have named it */
    struct redis_address address;  /* the session's */
    struct redis_session *session; /* NULL unless TRYING or UP */
    struct event timer;
    int64_t timed_us;  /* when the timed read was sent */
    int64_t looked_us; /* when a sentinel was asked last */
    struct backoff backoff;
    int64_t up_since_us;
    int failures[REDIS_USES]; /* in a row */
    struct outage outage, write_outage;
    char why[WHY_SIZE];  /* why the last try failed */
    char told[WHY_SIZE]; /* the reason that was logged last, … */
    int64_t told_us;     /* … when, … */
    int reasons;         /* … and how many others in this outage */
};

static void try_next(struct redis_link *link);
static void try_next_master(struct redis_link *link);
static void on_answered(void *arg, const char *error);

static bool is_error(const struct redis_reply *error, const char *code)
{
    size_t len = strlen(code);

    return error->text.len > len && memcmp(error->text.at, code, len) == 0 &&
           error->text.at[len] == ' ';
}

static void close_session(struct redis_link *link)
{
    struct redis_session *session = link->session;

    link->session = NULL;
    redis_session_free(session);
}

static void set_gauge(struct redis_link *link, enum metric gauge, bool on)
{
    if (link->role->gauged)
        link->env->metrics.value[gauge] = on;
}

/* A lost connection may be the first sign of a certificate that has expired, so the reasons of
 * later tries count too. They tell an address before what was told already. */
static void tell_outage(struct redis_link *link, const char *why)
{
    const struct log *log = &link->env->log;
    int64_t now_us = clock_monotonic_us();

    if (outage_fails(&link->outage, now_us)) {
        log_warning(log, "%s: %s; %s (logged once)", link->role->name, why, link->role->without);
        link->reasons = 0;
    } else if (!strstr(why, link->told) &&
               (link->reasons < REASONS_MAX || now_us - link->told_us >= reason_us)) {
        log_warning(log, "%s: still of no use: %s", link->role->name, why);
        link->reasons++;
    } else {
        log_debug(log, "%s: %s", link->role->name, why);
        return;
    }
    link->told_us = now_us;
    snprintf(link->told, sizeof link->told, "%s", why);
}

/* Close the session and come back later. */
static void go_down(struct redis_link *link, const char *why)
{
    struct back_env *env = link->env;

    if (link->state == WAITING)
        return;
    tell_outage(link, why);
    env->metrics.value[METRIC_REDIS_OPENED] += link->state == UP;
    set_gauge(link, METRIC_REDIS_UP, false);
    set_gauge(link, METRIC_REDIS_WRITABLE, false);
    link->state = WAITING;
    timer_retry(&link->timer, &link->backoff);
    close_session(link);
}

/* The address that was tried is of no use: on to the next one. */
static void try_failed(struct redis_link *link, const char *why)
{
    char address[REDIS_ADDRESS_TEXT_SIZE];

    redis_address_to_text(&link->address, address);
    snprintf(link->why, sizeof link->why, "%.100s: %.140s", address, why);
    close_session(link);
    try_next(link);
}

/* This session cannot be used. */
static void give_up(struct redis_link *link, const char *why)
{
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    if (link->state == TRYING)
        try_failed(link, why);
    else
        go_down(link, why);
}

static void on_ended(void *arg, enum redis_end how, const char *why)
{
    struct redis_link *link = arg;

    link->env->metrics.value[METRIC_REDIS_TOO_LONG] += how == REDIS_END_TOO_LONG;
    give_up(link, why);
}

/* The key "<prefix>1:probe:<n>", which never exists. */
static struct slice probe_key(const struct redis_link *link, int n, char ret[static WHY_SIZE])
{
    return (struct slice){ret, (size_t)snprintf(ret, WHY_SIZE, "%.128s1:probe:%d",
                                                link->env->config->redis_prefix, n)};
}

/* Read two keys, because a Cluster that spreads keys over its nodes refuses that. */
static void send_probe_read(struct redis_link *link,
                            void (*done)(void *arg, const struct redis_reply *reply))
{
    char key[2][WHY_SIZE];
    struct slice words[] = {redis_word("MGET"), probe_key(link, 0, key[0]),
                            probe_key(link, 1, key[1])};

    redis_send(link->session, words, 3, done, link);
}

/* SET with XX of a key that does not exist: it writes nothing, but fails for every reason that a
 * write fails for. */
static void send_probe_write(struct redis_link *link,
                             void (*done)(void *arg, const struct redis_reply *reply))
{
    char key[WHY_SIZE];
    struct slice words[] = {redis_word("SET"), probe_key(link, 0, key), redis_word("probe"),
                            redis_word("PX"),  redis_word("1"),         redis_word("XX")};

    redis_send(link->session, words, 6, done, link);
}

static void writes_work(struct redis_link *link)
{
    link->writes = true;
    link->failures[REDIS_WRITE] = 0;
    set_gauge(link, METRIC_REDIS_WRITABLE, true);
}

static void writes_fail(struct redis_link *link, const char *why)
{
    link->writes = false;
    set_gauge(link, METRIC_REDIS_WRITABLE, false);
    if (outage_fails(&link->write_outage, clock_monotonic_us()))
        log_warning(&link->env->log,
                    "%s: writes are refused: %s; reads continue, and a write is tried every "
                    "second (logged once)",
                    link->role->name, why);
}

static void tell_what_is_over(struct redis_link *link, int64_t now_us)
{
    int64_t lasted_us;

    if (outage_works(&link->outage, now_us, steady_us, &lasted_us))
        log_info(&link->env->log, "%s: in use again; the outage lasted %.1f s", link->role->name,
                 (double)lasted_us / 1e6);
    if (link->writes && outage_works(&link->write_outage, now_us, steady_us, &lasted_us))
        log_info(&link->env->log, "%s: writes are accepted again, after %.1f s", link->role->name,
                 (double)lasted_us / 1e6);
}

static void come_up(struct redis_link *link)
{
    link->state = UP;
    link->up_since_us = clock_monotonic_us();
    link->failures[REDIS_READ] = 0;
    set_gauge(link, METRIC_REDIS_UP, true);
    redis_hosts_worked(link->hosts, &link->address);
    link->looked_us = link->up_since_us;
    if (link->sentinels)
        redis_sentinels_use(link->sentinels, &link->master);
    if (!outage_on(&link->outage))
        log_info(&link->env->log, "%s: connected", link->role->name);
    tell_what_is_over(link, link->up_since_us);
    timer_start(&link->timer, tick_us);
}

/* AUTH and SELECT. */
static void on_greeted(void *arg, const struct redis_reply *reply)
{
    struct redis_link *link = arg;
    char why[WHY_SIZE];

    if (!reply || reply->kind != REPLY_ERROR)
        return;
    redis_reply_quote(reply, why, sizeof why);
    give_up(link, why);
}

/* A sentinel's word may be old: the server that it leads to says itself what it is. */
static void on_role(void *arg, const struct redis_reply *reply)
{
    struct redis_link *link = arg;

    if (!reply || reply->kind == REPLY_ERROR)
        on_greeted(arg, reply);
    else if (reply->kind != REPLY_ARRAY || reply->len == 0 ||
             !slice_is(reply->element[0].text, "master"))
        give_up(link, "the sentinels name it, and it is no master");
}

static void on_probe_read(void *arg, const struct redis_reply *reply)
{
    struct redis_link *link = arg;

    if (!reply || reply->kind == REPLY_ERROR)
        on_greeted(arg, reply);
    else if (reply->kind != REPLY_ARRAY || reply->len != 2)
        give_up(link, "it does not answer MGET with an array of two");
}

/* A Redis that answers later than lookups wait would come up and go down endlessly, at their cost.
 * The earlier reads also waited for the connection, so this one is timed. */
static void on_timed_read(void *arg, const struct redis_reply *reply)
{
    struct redis_link *link = arg;

    if (!reply || reply->kind == REPLY_ERROR)
        on_greeted(arg, reply);
    else if (clock_monotonic_us() - link->timed_us > link->env->config->redis_timeout)
        give_up(link, "it answers later than redis.timeout");
    else
        come_up(link);
}

static void on_probe_write(void *arg, const struct redis_reply *reply)
{
    struct redis_link *link = arg;
    char why[WHY_SIZE];

    if (!reply)
        return;
    if (reply->kind != REPLY_ERROR) {
        writes_work(link);
    } else if (is_error(reply, "READONLY")) {
        on_greeted(arg, reply);
        return;
    } else {
        link->env->metrics.value[METRIC_REDIS_ERRORS]++;
        redis_reply_quote(reply, why, sizeof why);
        writes_fail(link, why);
    }
    if (link->state != TRYING)
        return;
    link->timed_us = clock_monotonic_us();
    send_probe_read(link, on_timed_read);
}

/* Log in, choose the database, and try the real commands. A session that ends on the way drops the
 * remaining commands. */
static void greet(struct redis_link *link)
{
    const struct redis_url *url = &link->url;
    char number[16];

    redis_send_login(link->session, redis_word(url->user), link->env->redis_password, on_greeted,
                     link);
    if (url->db > 0) {
        snprintf(number, sizeof number, "%d", url->db);
        redis_send(link->session, (struct slice[]){redis_word("SELECT"), redis_word(number)}, 2,
                   on_greeted, link);
    }
    if (link->sentinels)
        redis_send(link->session, (struct slice[]){redis_word("ROLE")}, 1, on_role, link);
    send_probe_read(link, on_probe_read);
    send_probe_write(link, on_probe_write);
}

/* Returns 0 or -errno. Where TLS is asked for there is no connection without. */
static int open_session(struct redis_link *link)
{
    struct redis_session_setup setup = {
        .base = link->env->base,
        .address = (const struct sockaddr *)&link->address.at,
        .address_len = link->address.len,
        .ended = on_ended,
        .arg = link,
    };

    if (link->tls) {
        setup.tls = redis_tls_connection(link->tls, link->host.name);
        if (!setup.tls)
            return -ENOMEM;
    }
    return redis_session_new(&setup, &link->session);
}

static void try_next(struct redis_link *link)
{
    while (redis_hosts_next(link->hosts, &link->address)) {
        int opened = open_session(link);

        if (opened == 0) {
            link->state = TRYING;
            timer_start(&link->timer, try_timeout_us);
            greet(link);
            return;
        }
        char address[REDIS_ADDRESS_TEXT_SIZE];
        redis_address_to_text(&link->address, address);
        snprintf(link->why, sizeof link->why, "%.100s: %s", address, strerror(-opened));
        link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    }
    if (link->sentinels)
        try_next_master(link);
    else
        go_down(link, link->why);
}

static void resolve(struct redis_link *link)
{
    link->state = RESOLVING;
    if (redis_hosts_ask(link->hosts)) {
        snprintf(link->why, sizeof link->why, "its name %.200s is not resolved yet",
                 link->host.name);
        timer_start(&link->timer, try_timeout_us);
    } else {
        try_next(link);
    }
}

/* The addresses of a name that is known, and a query for it that is under way, are kept. */
static bool take_host(struct redis_link *link, const struct redis_host *host)
{
    struct redis_hosts *hosts;

    if (link->hosts && link->host.port == host->port && strcmp(link->host.name, host->name) == 0)
        return true;
    hosts = redis_hosts_new(link->env->base, host, on_answered, link);
    if (!hosts)
        return false;
    redis_hosts_free(link->hosts);
    link->hosts = hosts;
    link->host = *host;
    return true;
}

/* The masters that sentinels have named, one after the other. */
static void try_next_master(struct redis_link *link)
{
    while (redis_sentinels_next(link->sentinels, &link->master)) {
        if (!take_host(link, &link->master.host))
            continue;
        resolve(link);
        return;
    }
    go_down(link, link->why);
}

static void on_named(void *arg, const char *error)
{
    struct redis_link *link = arg;

    if (link->state != ASKING)
        return;
    if (!error) {
        try_next_master(link);
        return;
    }
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    go_down(link, error);
}

/* Writes to the old master may be lost from now on, and what it holds grows old: both are within
 * the bounds that hold without Redis. */
static void on_moved(void *arg, const struct redis_master *master)
{
    struct redis_link *link = arg;
    char why[WHY_SIZE];

    if (link->state != UP)
        return;
    snprintf(why, sizeof why, "the sentinels name another master, %.200s:%d", master->host.name,
             master->host.port);
    go_down(link, why);
}

/* Find out whose addresses to try. */
static void find(struct redis_link *link)
{
    if (!link->sentinels) {
        resolve(link);
        return;
    }
    event_del(&link->timer); /* sentinels answer in time */
    link->state = ASKING;
    redis_sentinels_ask(link->sentinels);
}

/* The answer may be late: a session that works meanwhile is left alone. */
static void on_answered(void *arg, const char *error)
{
    struct redis_link *link = arg;

    if (link->state == LOADING || link->state == ASKING || link->state == TRYING ||
        link->state == UP)
        return;
    /* The sentinels are asked first, each time. */
    if (link->state == WAITING && (error || link->sentinels))
        return;
    if (error)
        snprintf(link->why, sizeof link->why, "its name %.150s is not resolved: %.60s",
                 link->host.name, error);
    link->state = RESOLVING;
    try_next(link);
}

static void start_round(struct redis_link *link)
{
    if (!link->tls) {
        find(link);
        return;
    }
    link->state = LOADING;
    snprintf(link->why, sizeof link->why,
             "the files of TLS (redis.ca_file and others) are not read yet");
    if (redis_tls_ask(link->tls))
        timer_start(&link->timer, try_timeout_us);
    else
        go_down(link, link->why);
}

/* As on_answered(). */
static void on_loaded(void *arg, const char *error)
{
    struct redis_link *link = arg;

    if (link->state != LOADING && (error || link->state != WAITING))
        return;
    if (!error) {
        find(link);
        return;
    }
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    go_down(link, error);
}

static void tick(struct redis_link *link)
{
    int64_t now_us = clock_monotonic_us();
    int64_t late_us = now_us - redis_session_waits_since(link->session, now_us);

    if (late_us > link->env->config->redis_timeout + silence_us) {
        go_down(link, "a reply is late by more than two seconds");
        return;
    }
    if (now_us - link->up_since_us >= settled_us)
        backoff_reset(&link->backoff);
    if (!link->writes)
        send_probe_write(link, on_probe_write);
    if (link->sentinels && now_us - link->looked_us >= look_us) {
        link->looked_us = now_us;
        /* The next look needs the files as they are now. */
        if (link->tls && !redis_tls_ask(link->tls))
            link->env->metrics.value[METRIC_REDIS_ERRORS]++;
        redis_sentinels_look(link->sentinels);
    }
    tell_what_is_over(link, now_us);
    timer_start(&link->timer, tick_us);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;

    (void)fd;
    (void)what;
    switch (link->state) {
    case WAITING:
        start_round(link);
        break;
    case LOADING:
        if (redis_tls_ready(link->tls))
            find(link); /* with the files before */
        else
            go_down(link, link->why);
        break;
    case ASKING:
        break;
    case RESOLVING:
        try_next(link); /* the state before */
        break;
    case TRYING:
        give_up(link,
                link->tls ? "it does not answer; its port has to speak TLS" : "it does not answer");
        break;
    case UP:
        tick(link);
        break;
    }
}

/* What leads to Redis. False when out of memory. */
static bool open_way(struct redis_link *link)
{
    struct back_env *env = link->env;

    if (link->url.tls) {
        link->tls = redis_tls_new(env->base, env->config, on_loaded, link);
        if (!link->tls)
            return false;
    }
    if (link->url.master[0]) {
        link->sentinels = redis_sentinels_new(&(struct redis_sentinels_setup){.env = env,
                                                                              .url = &link->url,
                                                                              .tls = link->tls,
                                                                              .answered = on_named,
                                                                              .moved = on_moved,
                                                                              .arg = link});
        return link->sentinels != NULL;
    }
    link->host = link->url.host[0];
    if (link->url.path[0])
        snprintf(link->host.name, sizeof link->host.name, "%s", link->url.path);
    link->hosts = redis_hosts_new(env->base, &link->host, on_answered, link);
    return link->hosts != NULL;
}

struct redis_link *redis_link_new(struct back_env *env, const struct redis_link_role *role)
{
    struct redis_link *link = calloc(1, sizeof *link);

    if (!link)
        return NULL;
    link->env = env;
    link->role = role;
    link->backoff = (struct backoff){.first_us = 100000, .max_us = 3000000};
    event_assign(&link->timer, env->base, -1, 0, on_timer, link);
    if (!redis_url_parse(env->config->redis_url, &link->url) || !open_way(link)) {
        redis_link_free(link);
        return NULL;
    }
    timer_start(&link->timer, 0);
    return link;
}

void redis_link_free(struct redis_link *link)
{
    if (!link)
        return;
    link->state = WAITING;
    close_session(link);
    redis_sentinels_free(link->sentinels);
    redis_hosts_free(link->hosts);
    redis_tls_free(link->tls);
    event_del(&link->timer);
    free(link);
}

bool redis_link_may(const struct redis_link *link, enum redis_use use)
{
    return link->state == UP && (use == REDIS_READ || link->writes);
}

bool redis_link_half_full(const struct redis_link *link)
{
    return link->state == UP && redis_session_half_full(link->session);
}

bool redis_link_send(struct redis_link *link, struct slice request,
                     void (*done)(void *arg, const struct redis_reply *reply), void *arg)
{
    return link->state == UP && redis_session_send(link->session, request, done, arg);
}

void redis_link_worked(struct redis_link *link, enum redis_use use)
{
    link->failures[use] = 0;
}

void redis_link_failed(struct redis_link *link, enum redis_use use, const char *why)
{
    if (link->state != UP || ++link->failures[use] < FAILURES_MAX)
        return;
    if (use == REDIS_READ)
        go_down(link, why);
    else if (link->writes)
        writes_fail(link, why);
}

void redis_link_refused(struct redis_link *link, enum redis_use use,
                        const struct redis_reply *error)
{
    char why[WHY_SIZE];

    redis_reply_quote(error, why, sizeof why);
    if (is_error(error, "READONLY")) {
        give_up(link,
                why); /* the server has become a replica: the name may lead to the master now */
        return;
    }
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    redis_link_failed(link, use, why);
}
