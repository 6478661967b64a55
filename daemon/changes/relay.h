/* relay: writes what a change feed tells into a Redis stream, for sidecars that do not LISTEN.
 *
 *     feed_postgres ──▶ lease
 *                  └──▶ relay ──XADD──▶ stream ──XREAD──▶ feed_redis of each sidecar ──▶ lease
 *
 * feed_postgres tells the relay what it tells the lease, in that order, and the order of the stream
 * is the same. Entries are numbered, and a number is used whether or not Redis gets the entry: a
 * sidecar sees what is missing. So the relay repeats nothing and keeps nothing. Two relays know
 * nothing of each other. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RELAY_H
#define APIKEYD_RELAY_H

#include <apikeyd/model/digest.h>
#include <apikeyd/schema/schema_inspection.h>
#include <apikeyd/thread/back_env.h>

struct relay;

/* NULL when out of memory. The other functions do nothing with NULL. */
struct relay *relay_new(struct back_env *env);
void relay_free(struct relay *relay);

/* The key, or with NULL any key, was changed at `server_us` (PostgreSQL's clock; 0: unknown). */
void relay_changed(struct relay *relay, const struct digest *digest, int64_t server_us);

/* Changes that were committed before now may not have been announced. */
void relay_missing(struct relay *relay);

struct relay_confirmation {
    const struct store_id *store;
    const struct schema_inspection *expected; /* what the triggers were compared with */
    int64_t server_us;                        /* every change committed before then was told */
    bool gap;
    int64_t delay_us; /* 0: none */
};
void relay_confirmed(struct relay *relay, const struct relay_confirmation *confirmation);

/* The feed has ended. */
void relay_down(struct relay *relay);

#endif
