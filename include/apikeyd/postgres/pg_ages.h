/* pg_ages: renews each session before it is older than postgres.max_age.
 *
 *     up ────────── half to three quarters ──────────── seven eighths to all of max_age
 *                   another session is made,            the session ends,
 *                   then takes its place                another one has come or not
 *
 * PostgreSQL asks for a password only when a session begins: a session outlives the password or the
 * certificate that it began with, and keeps the memory that it has ever taken. So no session is
 * kept for good. Where in these spans a session is renewed and ends is drawn by lot for each, one
 * session is renewed at a time, and at most one ends at a time. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_AGES_H
#define APIKEYD_PG_AGES_H

#include <apikeyd/thread/back_env.h>

struct pg_ages;

/* Watch the sessions of `env`, which outlives this. NULL when out of memory. */
struct pg_ages *pg_ages_new(struct back_env *env);
void pg_ages_free(struct pg_ages *ages);

/* Returns the age of the oldest session that is up, or 0. */
int64_t pg_ages_oldest_us(const struct back_env *env, int64_t now_us);

#endif
