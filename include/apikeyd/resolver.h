/* resolver: answers what the memory cache could not.
 *
 *     LOOKUPs ─▶ Redis, one MGET for all that wait ─▶ PostgreSQL, one SELECT for a batch
 *                     └ believed: answer               └ answer, and fill Redis
 *
 * A lookup whose key is invalidated on the way is dirty: what comes back is thrown away and
 * PostgreSQL is asked again. Every lookup is answered exactly once, at shutdown too, and has a
 * deadline wherever it waits. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESOLVER_H
#define APIKEYD_RESOLVER_H

#include "apikeyd/back_env.h"

struct resolver;

/* When something was last used that is not in PostgreSQL yet, or 0; for EXPLAIN. */
typedef int64_t pending_usage(void *arg, const struct uuid *api_key_id);

/* NULL when memory is short. */
struct resolver *resolver_new(struct back_env *env, uint64_t seed, pending_usage *pending,
                              void *pending_arg);

/* Answers what is under way with UNAVAILABLE. */
void resolver_free(struct resolver *resolver);

/* Take a LOOKUP or EXPLAIN; nothing is sent before resolver_go(). */
void resolver_add(struct resolver *resolver, const struct to_back *message);

/* All that has arrived together is added: send it on its way. */
void resolver_go(struct resolver *resolver);

/* A key, or every key, may have changed: nothing read before now is believed, here or in Redis. */
void resolver_invalidate(struct resolver *resolver, const struct digest *digest);
void resolver_invalidate_all(struct resolver *resolver);

/* Lookup connections that can take a query or are carrying one out. */
size_t resolver_connections_up(const struct resolver *resolver);

#endif
