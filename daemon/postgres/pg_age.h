/* pg_age: which session is due, for pg_ages. Pure: time is a parameter. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_AGE_H
#define APIKEYD_PG_AGE_H

#include <apikeyd/postgres/pg_sessions.h>
#include <apikeyd/thread/back_env.h>

/* The ages at which a session with this lot is to be renewed, and ends. */
int64_t pg_age_renewed_us(int64_t max_us, uint32_t lot);
int64_t pg_age_end_us(int64_t max_us, uint32_t lot);

struct pg_ages_due {
    struct pg_session *ends;   /* a session that has to end, or NULL */
    struct pg_session *renews; /* a session to make another one for, or NULL */
};

struct pg_ages_due pg_ages_due(const struct back_env *env, int64_t now_us);

#endif
