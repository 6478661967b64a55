/* redis_sentinel: asks one sentinel where the master is.
 *
 *     ask ──▶ each address of its name ──▶ AUTH, SENTINEL MASTER, SENTINEL GET-MASTER-ADDR-BY-NAME
 * ──▶ answered
 *
 * Each question has a connection of its own, which ends with the answer: a fleet of sidecars holds
 * no connections to its sentinels. SENTINEL MASTER tells the epoch of the last failover that the
 * sentinel knows of, by which answers are compared. A service that does not know that command
 * leaves the epoch unknown. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_SENTINEL_H
#define APIKEYD_REDIS_SENTINEL_H

#include <apikeyd/config/redis_url.h>
#include <apikeyd/thread/back_env.h>

struct redis_sentinel;
struct redis_tls;

struct redis_master {
    struct redis_host host;
    int64_t epoch; /* of the configuration that made it the master; -1: unknown */
};

struct redis_sentinel_setup {
    struct back_env *env;
    const struct redis_host *host; /* not kept, … */
    const char *master;            /* … nor is this: the sentinels' name for it */
    const struct redis_tls *tls;   /* NULL: without. Ready when the sentinel is asked. */
    /* Called once for each redis_sentinel_ask(), later, with the master, or with NULL and the
     * reason in `why`, which tells the sentinel's address. */
    void (*answered)(void *arg, const struct redis_master *master, const char *why);
    void *arg;
};

/* NULL when out of memory. */
struct redis_sentinel *redis_sentinel_new(const struct redis_sentinel_setup *setup);

/* `answered` is not called any more. Does not wait. */
void redis_sentinel_free(struct redis_sentinel *sentinel);

/* Ask, for at most a second. False, and `answered` is not called for this, while a question is
 * under way. */
bool redis_sentinel_ask(struct redis_sentinel *sentinel);

#endif
