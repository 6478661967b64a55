/* feed_redis: the change feed that comes from relays, through a Redis stream.
 *
 * A relay is a daemon that LISTENs and writes what it hears into the stream (feed.relay). This feed
 * follows the stream of the server that answers the daemon's own lookups, and tells the lease. So
 * the daemon needs no session but those of its lookups and usage, which a pooler can carry.
 *
 * Nothing rests on Redis. An entry that is missing is seen by the numbers (lanes.h): the lane has a
 * gap, and begins anew. A confirmation counts by the time that PostgreSQL's clock read when the
 * relay asked, and this daemon knows that clock from its own lookups (pg_clock.h), not from Redis.
 * So a confirmation that was held back, or is repeated, confirms no more than it did at its time,
 * and one of another server than the one that answers lookups confirms nothing. Whoever can write
 * to Redis, but has not the secret, can end the lease, and no more.
 *
 * The clock has to be read every now and then: the feed asks for that when lookups are rare. Back
 * thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FEED_REDIS_H
#define APIKEYD_FEED_REDIS_H

#include <apikeyd/thread/back_env.h>

struct feed_redis;
struct lease;

struct feed_redis_setup {
    struct back_env *env;
    struct lease *lease; /* is told every event; outlives the feed */
    /* The time to ask PostgreSQL for its clock, and for its store, by idle lookup sessions. */
    void (*on_clock_due)(void *arg);
    void *arg;
};

/* NULL when out of memory. The other functions do nothing with NULL. */
struct feed_redis *feed_redis_new(const struct feed_redis_setup *setup);
void feed_redis_free(struct feed_redis *feed);

/* The configuration has changed. */
void feed_redis_configure(struct feed_redis *feed);

/* Lookups are answered by another store, or by another run of its server, than before. */
void feed_redis_home_changed(struct feed_redis *feed);

#endif
