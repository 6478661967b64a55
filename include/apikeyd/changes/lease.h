/* lease: which changes the daemon has heard of from its change feeds.
 *
 * A change feed is an ordered stream of changes and confirmations. Its transport, such as
 * feed_postgres, calls the functions of the first group as the stream arrives. A transport of
 * another kind calls the same functions, and no others. The lease passes changes on, tells
 * freshness until when the changes are complete, and names the bound on a revocation that holds
 * now, with the reason. The lease knows no session, no query and no server's clock.
 *
 *     lease_store, lease_changed*, lease_confirmed, lease_changed*, … lease_down
 *
 * A stream may end at any time, and then is silent: a confirmation holds for cache.ttl_unlinked and
 * no longer. lease_down() therefore makes nothing safer. It marks the gap: a stream that begins
 * after it has missed changes.
 *
 * Several streams may tell of the same changes, and one of them is enough. Each has told all
 * changes from its first confirmation to its last one. Where the times of two streams meet, the
 * later one carries on what the earlier one has told; where no stream reaches, changes may have
 * been missed.
 *
 *     stream A   |──────────────|  gap        |───
 *     stream B           |────────────────|
 *     complete   |────────────────────────|   |───      a new beginning: all is read again
 *
 * A stream that does not tell all counts only while none that does is well. It then begins anew, as
 * what it lacks has been missed since the other one was last confirmed.
 *
 * Times are monotonic microseconds. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEASE_H
#define APIKEYD_LEASE_H

#include <apikeyd/model/digest.h>
#include <apikeyd/thread/back_env.h>

struct lease;

struct lease_setup {
    struct back_env *env;
    /* A key, or with NULL any key, was changed at `changed_at_us` (TIME_NEVER: unknown). */
    void (*on_change)(void *arg, const struct digest *digest, int64_t changed_at_us);
    /* Returns whether the feed's store has answered lookups since `since_us`. */
    bool (*lookups_agree)(void *arg, int64_t since_us);
    void *arg;
};

/* One stream, all zeros at first. Only the lease reads and writes the fields. */
struct lease_stream {
    bool up;         /* it was confirmed, and has not ended since */
    bool gap;        /* it does not tell of every change */
    bool yields;     /* … and another one does, and is well: this one confirms nothing */
    int64_t from_us; /* every change since then was told, unless there is a gap */
};

/* NULL when out of memory. Freed after the transports. */
struct lease *lease_new(const struct lease_setup *setup);
void lease_free(struct lease *lease);

/* For transports, in the order of their stream. Each call takes effect at once. */

/* The stream comes from this store. The transport says so before each confirmation. Streams that
 * are up at one time come from one store. False for a standby, and for a server on an earlier
 * timeline than one seen before: the transport ends such a stream. */
__attribute__((warn_unused_result)) bool lease_store(struct lease *lease,
                                                     const struct store *store);

/* The key, or with NULL any key, was changed. `at_us` estimates the time of the change, or is
 * TIME_NEVER. */
void lease_changed(struct lease *lease, const struct digest *digest, int64_t at_us);

/* The stream may lack changes that were committed before now. */
void lease_missing(struct lease *lease);

/* Which changes a confirmed stream contains, and how late. The texts are for people, and live
 * forever.
 */
struct lease_coverage {
    const char *gap;   /* why changes are missing: "cache.ttl: …"; NULL: none is */
    const char *delay; /* why changes are late: "notification: …"; NULL: none is */
    int64_t delay_us;  /* how late at most */
};

/* The stream has this coverage from now on. Until the first call of any stream there is a gap. */
void lease_covers(struct lease *lease, struct lease_stream *stream,
                  const struct lease_coverage *coverage);

/* Every change whose COMMIT returned before `sent_us` has been told, except in the coverage's gap,
 * or before the stream's first confirmation. False when the clocks have jumped since: the transport
 * has to confirm again. */
__attribute__((warn_unused_result)) bool
lease_confirmed(struct lease *lease, struct lease_stream *stream, int64_t sent_us);

/* The stream has ended. */
void lease_down(struct lease *lease, struct lease_stream *stream);

/* Why no stream is confirmed, while none is: a bound, as in lease_coverage. NULL: not known. */
void lease_explain(struct lease *lease, const char *why);

/* Returns the longest time between two confirmations at which one late confirmation does not end
 * freshness. */
int64_t lease_interval_us(const struct lease *lease);

/* For all other callers. */

/* Returns whether a stream is confirmed now. */
bool lease_up(const struct lease *lease);

/* The bound on how late a revocation is enforced now. The text names the option or the mechanism
 * and the reason, for people; it lives forever. */
struct bound {
    int64_t us;
    const char *text;
};
struct bound lease_bound(const struct lease *lease);

#endif
