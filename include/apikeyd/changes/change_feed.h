/* change_feed: hears from PostgreSQL which keys have changed.
 *
 * A connection of its own that LISTENs and sends a heartbeat, which confirms that all that was
 * committed before it was sent has been heard of, and tells on what that rests: which store this
 * is, whether the triggers are what they should be, whether the notification queue has room. What
 * comes of it is in env->freshness. A connection that is lost, or whose heartbeat is late,
 * is made anew; what was notified meanwhile is missed, so the watermark rises. So it does when the
 * triggers, or the store, have changed: then the triggers are inspected, and do not count until
 * every transaction that was open at the time has ended. It must reach PostgreSQL itself: a pooler
 * drops notifications. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CHANGE_FEED_H
#define APIKEYD_CHANGE_FEED_H

#include <apikeyd/model/digest.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct feed;

struct feed_setup {
    struct back_env *env;
    /* A key, or with NULL any key, was changed at `changed_at_us`; TIME_NEVER: that is not known.
     */
    void (*on_change)(void *arg, const struct digest *digest, int64_t changed_at_us);
    /* A heartbeat is taking longer than it should: the time to see whether lookups are answered. */
    void (*on_doubt)(void *arg);
    /* The first heartbeat on a new connection was answered, or that connection is lost. */
    void (*on_up)(void *arg, bool up);
    /* A heartbeat was answered. */
    void (*on_heartbeat)(void *arg);
    /* The session has nothing to do. */
    void (*on_idle)(void *arg);
    /* Whether lookups have been answered by the feed's store since `since_us` (monotonic). */
    bool (*lookups_agree)(void *arg, int64_t since_us);
    void *arg;
};

/* NULL when out of memory. */
struct feed *feed_new(const struct feed_setup *setup);
void feed_free(struct feed *feed);

/* The configuration has changed. */
void feed_configure(struct feed *feed);

/* Send a heartbeat now, or as soon as the session is free. */
void feed_heartbeat(struct feed *feed);

/* Whether changes are heard of now. */
bool feed_up(const struct feed *feed);

/* Whether the session can take a query now; and send it, unless that is NULL. */
bool feed_lend(struct feed *feed, const struct pg_query *query);

/* What bounds how late a revocation is enforced now: the option or the mechanism, and why, for
 * people (lives forever), and how long that is. */
struct bound {
    int64_t us;
    const char *text;
};
struct bound feed_bound(const struct feed *feed);

#endif
