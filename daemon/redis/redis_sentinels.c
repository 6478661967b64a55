/* SPDX-License-Identifier: MIT */
#include "redis_sentinels.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <event2/event_struct.h>

#include <apikeyd/thread/timer.h>

enum { WHY_SIZE = 256 };

static const int64_t others_us = 200000; /* how long others may be later than the first answer */

struct redis_sentinels {
    struct redis_sentinels_setup setup; /* without its URL */
    struct redis_sentinel *each[REDIS_URL_HOSTS_MAX];
    size_t len, turn;
    bool asking; /* a round of all */
    size_t waiting, heard;
    struct redis_master found[REDIS_URL_HOSTS_MAX]; /* by the round, of its newest epoch */
    size_t found_len, next;
    struct redis_master used; /* its name is empty: none yet */
    struct event timer;       /* the round's end */
    char why[WHY_SIZE];
};

static bool same_host(const struct redis_host *a, const struct redis_host *b)
{
    return a->port == b->port && strcasecmp(a->name, b->name) == 0;
}

/* Keep it if no other of the round is newer. */
static void add(struct redis_sentinels *sentinels, const struct redis_master *master)
{
    if (sentinels->found_len > 0 && sentinels->found[0].epoch > master->epoch)
        return;
    if (sentinels->found_len > 0 && sentinels->found[0].epoch < master->epoch)
        sentinels->found_len = 0;
    for (size_t i = 0; i < sentinels->found_len; i++) {
        if (same_host(&sentinels->found[i].host, &master->host))
            return;
    }
    sentinels->found[sentinels->found_len++] = *master;
}

static void end_round(struct redis_sentinels *sentinels)
{
    const struct redis_master *best = &sentinels->found[0];
    const char *error = NULL;

    event_del(&sentinels->timer);
    sentinels->asking = false;
    sentinels->next = 0;
    if (sentinels->found_len == 0) {
        error = sentinels->why;
    } else if (sentinels->used.host.name[0] && best->epoch < sentinels->used.epoch &&
               2 * sentinels->heard <= sentinels->len) {
        snprintf(sentinels->why, sizeof sentinels->why,
                 "only %zu of %zu sentinels answer, and they know of an earlier master only, "
                 "%.100s:%d",
                 sentinels->heard, sentinels->len, best->host.name, best->host.port);
        error = sentinels->why;
        sentinels->found_len = 0;
    }
    /* May free the sentinels: it comes last. */
    sentinels->setup.answered(sentinels->setup.arg, error);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    end_round(arg);
}

/* One that was asked in turn, or answers after its round's end. */
static void hear(struct redis_sentinels *sentinels, const struct redis_master *master)
{
    struct redis_master *used = &sentinels->used;

    if (!used->host.name[0] || master->epoch < used->epoch)
        return;
    if (same_host(&master->host, &used->host))
        used->epoch = master->epoch;
    else if (master->epoch > used->epoch || master->epoch < 0)
        sentinels->setup.moved(sentinels->setup.arg, master); /* may free the sentinels */
}

static void on_answered(void *arg, const struct redis_master *master, const char *why)
{
    struct redis_sentinels *sentinels = arg;

    if (!sentinels->asking) {
        if (master)
            hear(sentinels, master);
        return;
    }
    sentinels->waiting--;
    if (master) {
        sentinels->heard++;
        add(sentinels, master);
        if (sentinels->heard == 1)
            timer_start(&sentinels->timer, others_us);
    } else {
        snprintf(sentinels->why, sizeof sentinels->why, "%s", why);
    }
    if (sentinels->waiting == 0)
        end_round(sentinels);
}

void redis_sentinels_ask(struct redis_sentinels *sentinels)
{
    sentinels->asking = true;
    sentinels->heard = sentinels->found_len = 0;
    /* One that is being asked already answers this round. */
    sentinels->waiting = sentinels->len;
    for (size_t i = 0; i < sentinels->len; i++)
        (void)redis_sentinel_ask(sentinels->each[i]);
}

bool redis_sentinels_next(struct redis_sentinels *sentinels, struct redis_master *ret)
{
    if (sentinels->next == sentinels->found_len)
        return false;
    *ret = sentinels->found[sentinels->next++];
    return true;
}

void redis_sentinels_use(struct redis_sentinels *sentinels, const struct redis_master *master)
{
    sentinels->used = *master;
}

void redis_sentinels_look(struct redis_sentinels *sentinels)
{
    if (!sentinels->asking)
        (void)redis_sentinel_ask(sentinels->each[sentinels->turn++ % sentinels->len]);
}

struct redis_sentinels *redis_sentinels_new(const struct redis_sentinels_setup *setup)
{
    struct redis_sentinels *sentinels = calloc(1, sizeof *sentinels);

    if (!sentinels)
        return NULL;
    sentinels->setup = *setup;
    sentinels->setup.url = NULL;
    event_assign(&sentinels->timer, setup->env->base, -1, 0, on_timer, sentinels);
    for (size_t i = 0; i < setup->url->hosts; i++) {
        struct redis_sentinel *one =
            redis_sentinel_new(&(struct redis_sentinel_setup){.env = setup->env,
                                                              .host = &setup->url->host[i],
                                                              .master = setup->url->master,
                                                              .tls = setup->tls,
                                                              .answered = on_answered,
                                                              .arg = sentinels});

        if (!one) {
            redis_sentinels_free(sentinels);
            return NULL;
        }
        sentinels->each[sentinels->len++] = one;
    }
    return sentinels;
}

void redis_sentinels_free(struct redis_sentinels *sentinels)
{
    if (!sentinels)
        return;
    for (size_t i = 0; i < sentinels->len; i++)
        redis_sentinel_free(sentinels->each[i]);
    event_del(&sentinels->timer);
    free(sentinels);
}
