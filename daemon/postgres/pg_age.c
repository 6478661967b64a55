/* SPDX-License-Identifier: MIT */
#include "pg_age.h"

/* From `from` to `to` sixteenths of the maximum. */
static int64_t draw(int64_t max_us, uint32_t lot, int64_t from, int64_t to)
{
    int64_t part_us = max_us / 16;

    return part_us * from + (int64_t)((double)(part_us * (to - from)) * lot / UINT32_MAX);
}

int64_t pg_age_renewed_us(int64_t max_us, uint32_t lot)
{
    return draw(max_us, lot, 8, 12);
}

int64_t pg_age_end_us(int64_t max_us, uint32_t lot)
{
    return draw(max_us, lot, 14, 16);
}

static struct pg_session *older(struct pg_session *a, struct pg_session *b)
{
    return a && a->up_us <= b->up_us ? a : b;
}

struct pg_ages_due pg_ages_due(const struct back_env *env, int64_t now_us)
{
    int64_t max_us = env->config->postgres_max_age;
    struct pg_ages_due due = {NULL, NULL};
    struct pg_session *session;
    bool renewing = false;

    if (max_us == 0)
        return due;
    TAILQ_FOREACH(session, &env->sessions, in_list)
    {
        int64_t age_us = now_us - session->up_us;

        renewing |= session->renewing;
        if (session->up && age_us >= pg_age_end_us(max_us, session->lot))
            due.ends = older(due.ends, session);
        else if (session->up && age_us >= pg_age_renewed_us(max_us, session->lot) &&
                 now_us >= session->renew_at_us && pg_session_may_connect(session))
            due.renews = older(due.renews, session);
    }
    if (renewing)
        due.renews = NULL;
    return due;
}
