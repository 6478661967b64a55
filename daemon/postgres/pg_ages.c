/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_ages.h>

#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>

#include "pg_age.h"

static const int64_t tick_min_us = 20000;
static const int64_t tick_max_us = 1000000;

struct pg_ages {
    struct back_env *env;
    struct event tick;
};

static void arm(struct pg_ages *ages)
{
    int64_t part_us = ages->env->config->postgres_max_age / 64;

    if (part_us == 0 || part_us > tick_max_us)
        part_us = tick_max_us;
    timer_start(&ages->tick, part_us > tick_min_us ? part_us : tick_min_us);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct pg_ages *ages = arg;
    struct pg_ages_due due = pg_ages_due(ages->env, clock_monotonic_us());
    int64_t wait_us;

    (void)fd;
    (void)what;
    if (due.ends)
        due.ends->end(due.ends->arg);
    if (due.renews && pg_session_take_turn(due.renews, &wait_us))
        due.renews->renew(due.renews->arg);
    arm(ages);
}

int64_t pg_ages_oldest_us(const struct back_env *env, int64_t now_us)
{
    const struct pg_session *session, *first = NULL;

    TAILQ_FOREACH(session, &env->sessions, in_list)
    {
        if (session->up && (!first || session->up_us < first->up_us))
            first = session;
    }
    return first ? now_us - first->up_us : 0;
}

struct pg_ages *pg_ages_new(struct back_env *env)
{
    struct pg_ages *ages = calloc(1, sizeof *ages);

    if (!ages)
        return NULL;
    ages->env = env;
    event_assign(&ages->tick, env->base, -1, 0, on_tick, ages);
    arm(ages);
    return ages;
}

void pg_ages_free(struct pg_ages *ages)
{
    if (!ages)
        return;
    event_del(&ages->tick);
    free(ages);
}
