/* pg_lanes: lookups in PostgreSQL, a batch at a time on each of several connections.
 *
 * While every connection is busy lookups gather, and the next one that is free takes all of them,
 * up to postgres.batch, of each client in turn: load makes batches larger, not more numerous. What
 * waits too long for a connection, or for its answer, fails; so does everything at once when no
 * server answers. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_LANES_H
#define APIKEYD_PG_LANES_H

#include "apikeyd/back_env.h"
#include "lookup.h"

struct pg_lanes;

struct pg_lanes_setup {
    struct back_env *env;
    /* A lookup handed in comes back by one of these, once. `server_read_us` is PostgreSQL's clock
     * when it was read (of an ALLOW or DENY inactive). `why` lives forever. */
    void (*answered)(void *arg, struct lookup *lookup, const struct verdict *verdict,
                     int64_t server_read_us);
    void (*failed)(void *arg, struct lookup *lookup, const char *why);
    /* Whether all connections are known not to be answered has changed. */
    void (*on_down)(void *arg, bool down);
    void *arg;
};

/* NULL when memory is short. */
struct pg_lanes *pg_lanes_new(const struct pg_lanes_setup *setup);

/* All lookups fail first. */
void pg_lanes_free(struct pg_lanes *lanes);

/* Hand a lookup in; it may come back before this returns. Nothing is sent before pg_lanes_go(). */
void pg_lanes_add(struct pg_lanes *lanes, struct lookup *lookup);
void pg_lanes_go(struct pg_lanes *lanes);

/* See whether the server answers: connections that have nothing to do ask it, and those that wait
 * for their next attempt make it now. */
void pg_lanes_probe(struct pg_lanes *lanes);

/* Connections that can take a query or are carrying one out. */
size_t pg_lanes_up(const struct pg_lanes *lanes);

#endif
