/* SPDX-License-Identifier: MIT */
#include "redis_sentinel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/thread/timer.h>

#include "redis_hosts.h"
#include "redis_send.h"
#include "redis_session.h"
#include "redis_tls.h"

enum { WHY_SIZE = 256 };
enum state { IDLE, RESOLVING, ASKING, DONE };

static const int64_t question_us = 1000000; /* for the name, and all addresses */

struct redis_sentinel {
    struct redis_sentinel_setup setup; /* without its host */
    struct redis_host host;
    char name[128]; /* the master's */
    enum state state;
    struct redis_hosts *hosts;
    struct redis_address address;
    struct redis_session *session; /* while ASKING */
    struct event timer;            /* the question's end, and then its answer */
    struct redis_master master;    /* found by now: its name is not empty */
    char why[WHY_SIZE];
};

static void close_session(struct redis_sentinel *sentinel)
{
    struct redis_session *session = sentinel->session;

    sentinel->session = NULL;
    redis_session_free(session);
}

/* The answer is told by the loop, since a caller may still be busy with asking. */
static void finish(struct redis_sentinel *sentinel)
{
    sentinel->state = DONE;
    close_session(sentinel);
    timer_start(&sentinel->timer, 0);
}

static void note_why(struct redis_sentinel *sentinel, const char *why)
{
    char address[REDIS_ADDRESS_TEXT_SIZE];

    redis_address_to_text(&sentinel->address, address);
    snprintf(sentinel->why, sizeof sentinel->why, "sentinel %.90s: %.150s", address, why);
}

/* The first error counts: those after a login that failed say less. */
static void note_error(struct redis_sentinel *sentinel, const struct redis_reply *error)
{
    char why[WHY_SIZE];

    if (sentinel->why[0])
        return;
    redis_reply_quote(error, why, sizeof why);
    note_why(sentinel, why);
}

static void try_next(struct redis_sentinel *sentinel);

/* This address is of no use. */
static void give_up(struct redis_sentinel *sentinel, const char *why)
{
    note_why(sentinel, why);
    close_session(sentinel);
    try_next(sentinel);
}

static void on_ended(void *arg, enum redis_end how, const char *why)
{
    (void)how;
    give_up(arg, why);
}

static void on_login(void *arg, const struct redis_reply *reply)
{
    if (reply && reply->kind == REPLY_ERROR)
        note_error(arg, reply);
}

/* SENTINEL MASTER: names and values in turn. */
static void on_master(void *arg, const struct redis_reply *reply)
{
    struct redis_sentinel *sentinel = arg;

    sentinel->master.epoch = -1;
    if (reply && reply->kind == REPLY_ERROR)
        note_error(sentinel, reply);
    if (!reply || reply->kind != REPLY_ARRAY)
        return;
    for (size_t i = 0; i + 1 < reply->len; i += 2) {
        if (slice_is(reply->element[i].text, "config-epoch") &&
            !slice_number(reply->element[i + 1].text, &sentinel->master.epoch))
            sentinel->master.epoch = -1;
    }
}

static bool take_address(const struct redis_reply *reply, struct redis_host *ret)
{
    struct redis_host host = {0};
    int64_t port;

    if (reply->kind != REPLY_ARRAY || reply->len != 2)
        return false;
    struct slice name = reply->element[0].text;
    if (name.len == 0 || name.len >= sizeof host.name || name.at[0] == '/' ||
        memchr(name.at, '\0', name.len) || !slice_number(reply->element[1].text, &port) ||
        port < 1 || port > 65535)
        return false;
    memcpy(host.name, name.at, name.len);
    host.port = (int)port;
    *ret = host;
    return true;
}

static void on_address(void *arg, const struct redis_reply *reply)
{
    struct redis_sentinel *sentinel = arg;

    if (!reply)
        return;
    if (reply->kind == REPLY_NIL)
        note_why(sentinel, "it knows no master of that name");
    else if (reply->kind == REPLY_ERROR)
        note_error(sentinel, reply);
    else if (!take_address(reply, &sentinel->master.host))
        note_why(sentinel, "its answer is no address");
    finish(sentinel);
}

static void question(struct redis_sentinel *sentinel)
{
    const struct back_env *env = sentinel->setup.env;
    struct slice user = redis_word(env->config->redis_sentinel_user);
    struct slice name = redis_word(sentinel->name);
    struct redis_session *session = sentinel->session;

    sentinel->why[0] = '\0';
    redis_send_login(session, user, env->redis_sentinel_password, on_login, sentinel);
    redis_send(session, (struct slice[]){redis_word("SENTINEL"), redis_word("MASTER"), name}, 3,
               on_master, sentinel);
    redis_send(
        session,
        (struct slice[]){redis_word("SENTINEL"), redis_word("GET-MASTER-ADDR-BY-NAME"), name}, 3,
        on_address, sentinel);
}

static void try_next(struct redis_sentinel *sentinel)
{
    while (redis_hosts_next(sentinel->hosts, &sentinel->address)) {
        struct redis_session_setup setup = {.base = sentinel->setup.env->base,
                                            .address =
                                                (const struct sockaddr *)&sentinel->address.at,
                                            .address_len = sentinel->address.len,
                                            .ended = on_ended,
                                            .arg = sentinel};
        const struct redis_tls *tls = sentinel->setup.tls;

        sentinel->state = ASKING;
        if (tls)
            setup.tls = redis_tls_connection(tls, sentinel->host.name);
        int opened = tls && !setup.tls ? -ENOMEM : redis_session_new(&setup, &sentinel->session);
        if (opened == 0) {
            question(sentinel);
            return;
        }
        note_why(sentinel, strerrordesc_np(-opened));
    }
    finish(sentinel);
}

static void on_resolved(void *arg, const char *error)
{
    struct redis_sentinel *sentinel = arg;

    if (sentinel->state != RESOLVING)
        return;
    if (error)
        snprintf(sentinel->why, sizeof sentinel->why,
                 "sentinel %.150s: the name is not resolved: %.60s", sentinel->host.name, error);
    try_next(sentinel);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_sentinel *sentinel = arg;
    bool found;

    (void)fd;
    (void)what;
    if (sentinel->state == RESOLVING) {
        try_next(sentinel); /* addresses of before */
        timer_start(&sentinel->timer, sentinel->state == DONE ? 0 : question_us);
        return;
    }
    if (sentinel->state == ASKING) {
        note_why(sentinel, "it does not answer");
        close_session(sentinel);
    }
    sentinel->state = IDLE;
    found = sentinel->master.host.name[0];
    if (found)
        redis_hosts_worked(sentinel->hosts, &sentinel->address);
    /* May free the sentinel: it comes last. */
    sentinel->setup.answered(sentinel->setup.arg, found ? &sentinel->master : NULL, sentinel->why);
}

bool redis_sentinel_ask(struct redis_sentinel *sentinel)
{
    if (sentinel->state != IDLE)
        return false;
    sentinel->master = (struct redis_master){.epoch = -1};
    snprintf(sentinel->why, sizeof sentinel->why, "sentinel %.200s: the name is not resolved yet",
             sentinel->host.name);
    sentinel->state = RESOLVING;
    timer_start(&sentinel->timer, question_us);
    if (!redis_hosts_ask(sentinel->hosts))
        try_next(sentinel);
    return true;
}

struct redis_sentinel *redis_sentinel_new(const struct redis_sentinel_setup *setup)
{
    struct redis_sentinel *sentinel = calloc(1, sizeof *sentinel);

    if (!sentinel)
        return NULL;
    sentinel->setup = *setup;
    sentinel->setup.host = NULL;
    sentinel->setup.master = NULL;
    sentinel->host = *setup->host;
    snprintf(sentinel->name, sizeof sentinel->name, "%s", setup->master);
    sentinel->hosts = redis_hosts_new(setup->env->base, setup->host, on_resolved, sentinel);
    if (!sentinel->hosts) {
        free(sentinel);
        return NULL;
    }
    event_assign(&sentinel->timer, setup->env->base, -1, 0, on_timer, sentinel);
    return sentinel;
}

void redis_sentinel_free(struct redis_sentinel *sentinel)
{
    if (!sentinel)
        return;
    sentinel->state = IDLE;
    close_session(sentinel);
    redis_hosts_free(sentinel->hosts);
    event_del(&sentinel->timer);
    free(sentinel);
}
