/* SPDX-License-Identifier: MIT */
#include "redis_link.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/base/outage.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/config/redis_url.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/wire/resp_reply.h>

#include "redis_hosts.h"
#include "redis_session.h"

enum { FAILURES_MAX = 5, WHY_SIZE = 256 };

enum state { WAITING, RESOLVING, TRYING, UP };

static const int64_t try_timeout_us = 1000000; /* for the name, and for each address */
static const int64_t tick_us = 1000000;
static const int64_t silence_us = 2000000; /* a reply may be later than redis.timeout by this */
static const int64_t settled_us = 1000000; /* up for so long: a loss is tried again at once */
static const int64_t steady_us = 5000000;  /* an outage is over */

struct redis_link {
    struct back_env *env;
    const struct redis_link_role *role;
    struct redis_url url;
    enum state state;
    bool writes; /* Redis accepts writes */
    struct redis_hosts *hosts;
    struct redis_address address;  /* the session's */
    struct redis_session *session; /* NULL unless TRYING or UP */
    struct event timer;
    int64_t timed_us; /* when the timed read was sent */
    struct backoff backoff;
    int64_t up_since_us;
    int failures[REDIS_USES]; /* in a row */
    struct outage outage, write_outage;
    char why[WHY_SIZE]; /* why the last try failed */
};

static void try_next(struct redis_link *link);

/* Redis's message, in a form that fits a log line. */
static void quote(struct slice text, char ret[static WHY_SIZE])
{
    size_t len = text.len < WHY_SIZE / 2 ? text.len : WHY_SIZE / 2;

    memcpy(ret, text.at, len);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)ret[i] < ' ' || ret[i] == 0x7f)
            ret[i] = ' ';
    }
    ret[len] = '\0';
}

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

/* Close the session and come back later. */
static void go_down(struct redis_link *link, const char *why)
{
    struct back_env *env = link->env;

    if (link->state == WAITING)
        return;
    if (outage_fails(&link->outage, clock_monotonic_us()))
        log_warning(&env->log, "%s: %s; %s (logged once)", link->role->name, why,
                    link->role->without);
    else
        log_debug(&env->log, "%s: %s", link->role->name, why);
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

/* Send a command of the link's own. */
static void send_words(struct redis_link *link, const struct slice *words, size_t len,
                       void (*done)(void *arg, const struct redis_reply *reply))
{
    struct buffer request = {0};

    resp_array(&request, len);
    for (size_t i = 0; i < len; i++)
        resp_bulk(&request, words[i]);
    if (!redis_session_send(link->session, buffer_held(&request), done, link))
        log_debug(&link->env->log, "%s: no room for a command", link->role->name);
    buffer_free(&request);
}

static struct slice word(const char *text)
{
    return (struct slice){text, strlen(text)};
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
    struct slice words[] = {word("MGET"), probe_key(link, 0, key[0]), probe_key(link, 1, key[1])};

    send_words(link, words, 3, done);
}

/* SET with XX of a key that does not exist: it writes nothing, but fails for every reason that a
 * write fails for. */
static void send_probe_write(struct redis_link *link,
                             void (*done)(void *arg, const struct redis_reply *reply))
{
    char key[WHY_SIZE];
    struct slice words[] = {
        word("SET"), probe_key(link, 0, key), word("probe"), word("PX"), word("1"), word("XX")};

    send_words(link, words, 6, done);
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
    quote(reply->text, why);
    give_up(link, why);
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
        quote(reply->text, why);
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
    struct slice password = link->env->redis_password;
    const struct redis_url *url = &link->url;
    char number[16];

    if (password.len > 0 && url->user[0])
        send_words(link, (struct slice[]){word("AUTH"), word(url->user), password}, 3, on_greeted);
    else if (password.len > 0)
        send_words(link, (struct slice[]){word("AUTH"), password}, 2, on_greeted);
    if (url->db > 0) {
        snprintf(number, sizeof number, "%d", url->db);
        send_words(link, (struct slice[]){word("SELECT"), word(number)}, 2, on_greeted);
    }
    send_probe_read(link, on_probe_read);
    send_probe_write(link, on_probe_write);
}

static void try_next(struct redis_link *link)
{
    while (redis_hosts_next(link->hosts, &link->address)) {
        int opened = redis_session_new(
            &(struct redis_session_setup){
                .base = link->env->base,
                .address = (const struct sockaddr *)&link->address.at,
                .address_len = link->address.len,
                .ended = on_ended,
                .arg = link,
            },
            &link->session);

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
    go_down(link, link->why);
}

static void start_round(struct redis_link *link)
{
    link->state = RESOLVING;
    if (redis_hosts_ask(link->hosts)) {
        snprintf(link->why, sizeof link->why, "its name %.200s is not resolved yet",
                 link->url.host);
        timer_start(&link->timer, try_timeout_us);
    } else {
        try_next(link);
    }
}

/* The answer may be late: a session that works meanwhile is left alone. */
static void on_answered(void *arg, const char *error)
{
    struct redis_link *link = arg;

    if (link->state == TRYING || link->state == UP)
        return;
    if (error && link->state == WAITING)
        return;
    if (error)
        snprintf(link->why, sizeof link->why, "its name %.150s is not resolved: %.60s",
                 link->url.host, error);
    link->state = RESOLVING;
    try_next(link);
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
    case RESOLVING:
        try_next(link); /* the state before */
        break;
    case TRYING:
        give_up(link, "it does not answer");
        break;
    case UP:
        tick(link);
        break;
    }
}

struct redis_link *redis_link_new(struct back_env *env, const struct redis_link_role *role)
{
    struct redis_link *link = calloc(1, sizeof *link);

    if (!link || !redis_url_parse(env->config->redis_url, &link->url)) {
        free(link);
        return NULL;
    }
    link->env = env;
    link->role = role;
    link->hosts = redis_hosts_new(env->base, &link->url, on_answered, link);
    if (!link->hosts) {
        free(link);
        return NULL;
    }
    link->backoff = (struct backoff){.first_us = 100000, .max_us = 3000000};
    event_assign(&link->timer, env->base, -1, 0, on_timer, link);
    timer_start(&link->timer, 0);
    return link;
}

void redis_link_free(struct redis_link *link)
{
    if (!link)
        return;
    link->state = WAITING;
    close_session(link);
    redis_hosts_free(link->hosts);
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

    quote(error->text, why);
    if (is_error(error, "READONLY")) {
        give_up(link,
                why); /* the server has become a replica: the name may lead to the master now */
        return;
    }
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    redis_link_failed(link, use, why);
}
