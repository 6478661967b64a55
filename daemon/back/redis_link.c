/* SPDX-License-Identifier: MIT */
#include "apikeyd/redis_link.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>
#include <event2/util.h>
#include <hiredis/adapters/libevent.h>

#include "apikeyd/backoff.h"
#include "apikeyd/clock.h"
#include "apikeyd/redis_url.h"

enum { FAILURES_MAX = 5 };

enum state { WAITING, RESOLVING, PROBING, UP };

static const int64_t probe_timeout_us = 1000000;

struct redis_link {
    struct back_env *env;
    struct redis_url url;
    enum state state;
    bool told_down;
    redisAsyncContext *context;
    struct evdns_getaddrinfo_request *query;
    struct event timer;
    struct backoff backoff;
    int failures; /* in a row */
};

static void start_timer(struct redis_link *link, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);

    event_add(&link->timer, &delay);
}

/* Close what there is and come back later. */
static void go_down(struct redis_link *link, const char *why)
{
    redisAsyncContext *context = link->context;

    if (link->state == WAITING)
        return;
    if (link->told_down)
        log_debug(&link->env->log, "redis: %s", why);
    else
        log_warning(&link->env->log, "redis: %s; going on without it", why);
    link->told_down = true;
    link->env->metrics.value[METRIC_REDIS_OPENED] += link->state == UP;
    link->env->metrics.value[METRIC_REDIS_UP] = 0;
    link->state = WAITING;
    link->context = NULL;
    link->failures = 0;
    start_timer(link, backoff_next(&link->backoff, arc4random()));
    if (context)
        redisAsyncFree(context);
}

/* hiredis calls this for a connection that broke by itself, and after our own redisAsyncFree(). */
static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct redis_link *link = context->data;

    if (link->context != context)
        return;
    link->context = NULL; /* hiredis frees it */
    if (status != REDIS_OK)
        link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    go_down(link, context->errstr && context->errstr[0] ? context->errstr : "connection closed");
}

static void on_connect(const redisAsyncContext *context, int status)
{
    struct redis_link *link = context->data;

    if (status == REDIS_OK || link->context != context)
        return;
    link->context = NULL; /* hiredis frees it */
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    go_down(link, context->errstr);
}

static void on_hello(redisAsyncContext *context, void *data, void *arg)
{
    struct redis_link *link = context->data;
    const redisReply *reply = data;

    (void)arg;
    if (link->context != context || !reply || reply->type != REDIS_REPLY_ERROR)
        return;
    link->env->metrics.value[METRIC_REDIS_ERRORS]++;
    go_down(link, reply->str);
}

static void on_pong(redisAsyncContext *context, void *data, void *arg)
{
    struct redis_link *link = context->data;
    const redisReply *reply = data;

    if (link->context != context || !reply || reply->type == REDIS_REPLY_ERROR) {
        on_hello(context, data, arg);
        return;
    }
    event_del(&link->timer);
    link->state = UP;
    link->told_down = false;
    link->env->metrics.value[METRIC_REDIS_UP] = 1;
    backoff_reset(&link->backoff);
    log_info(&link->env->log, "redis: connected");
}

/* Log in, choose the database and see that Redis answers. A link that goes down on the way drops
 * the commands that are left. */
static void probe(struct redis_link *link)
{
    redisAsyncContext *context = link->context;
    struct slice password = link->env->redis_password;
    const struct redis_url *url = &link->url;

    if (password.len > 0 && url->user[0])
        redisAsyncCommand(context, on_hello, NULL, "AUTH %s %b", url->user, password.at,
                          password.len);
    else if (password.len > 0)
        redisAsyncCommand(context, on_hello, NULL, "AUTH %b", password.at, password.len);
    if (url->db > 0)
        redisAsyncCommand(context, on_hello, NULL, "SELECT %d", url->db);
    redisAsyncCommand(context, on_pong, NULL, "PING");
}

static void open_context(struct redis_link *link, redisAsyncContext *context)
{
    if (!context || context->err) {
        char why[128] = "memory is short";

        if (context)
            snprintf(why, sizeof why, "%s", context->errstr);
        if (context)
            redisAsyncFree(context);
        link->env->metrics.value[METRIC_REDIS_ERRORS]++;
        go_down(link, why);
        return;
    }
    context->data = link;
    link->context = context;
    link->state = PROBING;
    redisLibeventAttach(context, link->env->base);
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
    probe(link);
}

static void on_addresses(int error, struct evutil_addrinfo *addresses, void *arg)
{
    struct redis_link *link = arg;
    char text[INET6_ADDRSTRLEN];

    link->query = NULL;
    if (error == EVUTIL_EAI_CANCEL) {
        if (addresses)
            evutil_freeaddrinfo(addresses);
        return;
    }
    if (error || !addresses ||
        getnameinfo(addresses->ai_addr, addresses->ai_addrlen, text, sizeof text, NULL, 0,
                    NI_NUMERICHOST) != 0)
        go_down(link, "cannot resolve its host name");
    else
        open_context(link, redisAsyncConnect(text, link->url.port));
    if (addresses)
        evutil_freeaddrinfo(addresses);
}

static void start_connect(struct redis_link *link)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    link->state = RESOLVING;
    start_timer(link, probe_timeout_us);
    if (link->url.path[0]) {
        open_context(link, redisAsyncConnectUnix(link->url.path));
        return;
    }
    struct evdns_getaddrinfo_request *query =
        evdns_getaddrinfo(link->env->dns, link->url.host, NULL, &hints, on_addresses, link);
    if (query)
        link->query = query;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;

    (void)fd;
    (void)what;
    if (link->state == WAITING) {
        start_connect(link);
        return;
    }
    link->env->metrics.value[METRIC_REDIS_TIMEOUTS]++;
    if (link->query)
        evdns_getaddrinfo_cancel(link->query);
    link->query = NULL;
    go_down(link, "connecting took too long");
}

struct redis_link *redis_link_new(struct back_env *env)
{
    struct redis_link *link = calloc(1, sizeof *link);

    if (!link || !redis_url_parse(env->config->redis_url, &link->url)) {
        free(link);
        return NULL;
    }
    link->env = env;
    link->backoff = (struct backoff){.first_us = 100000, .most_us = 3000000};
    event_assign(&link->timer, env->base, -1, 0, on_timer, link);
    start_timer(link, 0);
    return link;
}

void redis_link_free(struct redis_link *link)
{
    if (!link)
        return;
    redisAsyncContext *context = link->context;

    link->context = NULL;
    if (link->query)
        evdns_getaddrinfo_cancel(link->query);
    if (context)
        redisAsyncFree(context);
    event_del(&link->timer);
    free(link);
}

redisAsyncContext *redis_link_context(struct redis_link *link)
{
    return link->state == UP ? link->context : NULL;
}

void redis_link_worked(struct redis_link *link)
{
    link->failures = 0;
}

void redis_link_failed(struct redis_link *link, const char *why)
{
    if (++link->failures >= FAILURES_MAX && link->state == UP)
        go_down(link, why);
}
