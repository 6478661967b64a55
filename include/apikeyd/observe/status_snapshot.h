/* status_snapshot: the state of the daemon at one moment, as shown to operators.
 *
 * INFO, the metrics page, the status page and the readiness check are all made from a snapshot.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STATUS_SNAPSHOT_H
#define APIKEYD_STATUS_SNAPSHOT_H

#include <apikeyd/model/metrics.h>
#include <apikeyd/model/store.h>
#include <apikeyd/observe/busy_keys.h>
#include <apikeyd/observe/events.h>
#include <apikeyd/observe/history.h>

struct status_snapshot {
    struct metrics total;  /* of both threads, since the start */
    struct metrics recent; /* counters and histograms of the last window; gauges mean nothing */
    int64_t window_us;     /* length of that window; 0: the daemon has just started */
    int64_t uptime_us;
    int64_t now_us;               /* since 1970 */
    bool postgres_answers;        /* lookups */
    bool memory_servable;         /* the newest verdict in memory may be served, perhaps stale */
    bool redis_servable;          /* so may the newest verdict that Redis is known to hold */
    const char *revocation_bound; /* see lease_bound() */
    const char *lookup_fault;     /* see resolver_fault() */
    const char *front_cpu;        /* what became of listen.cpu */
    bool has_store;               /* it is known … */
    struct store_id store;        /* … which store answers */
    bool redis_dated;             /* PostgreSQL's clock is known, so Redis' verdicts have an age */
    bool stopping;
    const struct events *events;
    const struct history *history;
    struct busy_keys *busy_keys; /* NULL: uses are not counted */
};

/* Returns whether a check asked now would be answered: PostgreSQL answers, or Redis is up and holds
 * usable verdicts, or memory holds some. Appends the state of all three to *why. */
bool status_snapshot_ready(const struct status_snapshot *snapshot, struct buffer *why);

/* One line for systemctl status. */
void status_snapshot_print_line(const struct status_snapshot *snapshot, struct buffer *out);

/* The INFO text; `section` "" is all. */
void status_snapshot_print_info(const struct status_snapshot *snapshot, const char *section,
                                struct buffer *out);

#endif
