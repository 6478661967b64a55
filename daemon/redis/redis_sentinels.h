/* redis_sentinels: where the master is, by what several sentinels say.
 *
 *     ask ──▶ all of them at once ──▶ answered ──▶ next, next, … (the masters of the newest epoch)
 *     look ─▶ one of them in turn ──▶ moved, if it knows of a newer one
 *
 * Sentinels may be down, silent, cut off from the others, or behind. So the newest word counts: the
 * epoch of a failover grows with each. A round ends when all have answered, or shortly after the
 * first answer. A master of an earlier epoch than one that was used is named only if more than half
 * of the sentinels have answered: then they have been set up anew. A sentinel's word is a hint, and
 * the server that it leads to has to say itself that it is a master. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_SENTINELS_H
#define APIKEYD_REDIS_SENTINELS_H

#include "redis_sentinel.h"

struct redis_sentinels;

struct redis_sentinels_setup {
    struct back_env *env;
    const struct redis_url *url; /* not kept */
    const struct redis_tls *tls; /* NULL: without */
    /* Called once for each redis_sentinels_ask(), later: with NULL, or with the reason why no
     * master is known. */
    void (*answered)(void *arg, const char *error);
    /* The master has moved since redis_sentinels_use(). */
    void (*moved)(void *arg, const struct redis_master *master);
    void *arg;
};

/* NULL when out of memory. */
struct redis_sentinels *redis_sentinels_new(const struct redis_sentinels_setup *setup);

/* No callback is called any more. Does not wait. */
void redis_sentinels_free(struct redis_sentinels *sentinels);

/* Ask all. Not again before `answered`. */
void redis_sentinels_ask(struct redis_sentinels *sentinels);

/* Set *ret to the next master of the last answer; false when there is no other. */
bool redis_sentinels_next(struct redis_sentinels *sentinels, struct redis_master *ret);

/* This master is in use. */
void redis_sentinels_use(struct redis_sentinels *sentinels, const struct redis_master *master);

/* Ask one of them, the next one each time. */
void redis_sentinels_look(struct redis_sentinels *sentinels);

#endif
