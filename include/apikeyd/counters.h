/* counters: what is counted, from one table.
 *
 * COUNTERS names every number that the daemon keeps; the enum, INFO and METRICS come from it.
 * Each thread has an array of its own and adds to it without any lock; whoever shows them adds
 * the arrays up. A gauge says what is now and is set by its owner just before it is shown.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNTERS_H
#define APIKEYD_COUNTERS_H

#include <stdint.h>
#include <stdio.h>

#include "apikeyd/buffer.h"
#include "apikeyd/slice.h"

/* X(enumerator, INFO section, name, kind, help) */
#define COUNTERS(X)                                                                                \
    X(CHECKS_ALLOW, "Checks", "checks_allow", COUNTER, "Checks answered ALLOW")                    \
    X(CHECKS_UNKNOWN, "Checks", "checks_deny_unknown", COUNTER, "Checks answered DENY unknown")    \
    X(CHECKS_INACTIVE, "Checks", "checks_deny_inactive", COUNTER, "Checks answered DENY inactive") \
    X(CHECKS_UNAVAILABLE, "Checks", "checks_unavailable", COUNTER, "Checks answered UNAVAILABLE")  \
    X(CHECKS_REFUSED, "Checks", "checks_refused", COUNTER, "Checks answered with an error")        \
    X(HITS_MEMORY, "Checks", "checks_from_memory", COUNTER, "Checks answered from memory")         \
    X(HITS_REDIS, "Checks", "checks_from_redis", COUNTER, "Checks answered from Redis")            \
    X(HITS_POSTGRES, "Checks", "checks_from_postgres", COUNTER, "Checks answered from PostgreSQL") \
    X(HITS_STALE, "Checks", "checks_stale", COUNTER, "Checks answered stale, as no store did")     \
    X(LOOKUPS, "Checks", "lookups", COUNTER, "Lookups sent to the back thread")                    \
    X(LOOKUPS_SHARED, "Checks", "lookups_shared", COUNTER, "Misses that joined a lookup")          \
    X(REFRESHES, "Checks", "refreshes", COUNTER, "Refreshes ahead of expiry")                      \
    X(DEADLINES, "Checks", "deadlines_passed", COUNTER, "Checks whose WITHIN passed")              \
    X(OVERLOADS, "Checks", "lookups_overloaded", COUNTER, "Misses refused at max_pending")         \
    X(DUPLICATE_KEYS, "Checks", "duplicate_key_ids", COUNTER,                                      \
      "Lookups that found several rows with one key ID")                                           \
    X(LOOKUPS_PENDING, "Checks", "lookups_pending", GAUGE, "Lookups in flight")                    \
    X(CACHE_ENTRIES, "Cache", "cache_entries", GAUGE, "Verdicts in memory on existing keys")       \
    X(CACHE_SLOTS, "Cache", "cache_slots", GAUGE, "Room for them")                                 \
    X(CACHE_EVICTIONS, "Cache", "cache_evictions", COUNTER, "Believed verdicts evicted")           \
    X(NEGATIVE_ENTRIES, "Cache", "negative_entries", GAUGE, "DENY unknown verdicts in memory")     \
    X(NEGATIVE_SLOTS, "Cache", "negative_slots", GAUGE, "Room for them")                           \
    X(NEGATIVE_EVICTIONS, "Cache", "negative_evictions", COUNTER, "Believed ones evicted")         \
    X(INVALIDATIONS, "Cache", "invalidations", COUNTER, "Keys invalidated")                        \
    X(LINK_UP, "Link", "link_up", GAUGE, "1 while changes are heard of as they are committed")     \
    X(LINK_TRIGGER, "Link", "link_trigger", GAUGE, "1 while a trigger notifies of changes")        \
    X(LINK_LOSSES, "Link", "link_losses", COUNTER, "Times that the link was lost")                 \
    X(LINK_HEARTBEATS, "Link", "link_heartbeats", COUNTER, "Heartbeats answered")                  \
    X(LINK_ROUND_TRIP, "Link", "link_round_trip_us", GAUGE, "The last one's round trip")           \
    X(LINK_NOTIFICATIONS, "Link", "link_notifications", COUNTER, "Notifications received")         \
    X(LINK_BAD, "Link", "link_notifications_bad", COUNTER, "Those not of the trigger's making")    \
    X(REVOCATION_LAG, "Link", "revocation_lag_us", GAUGE,                                          \
      "From the last notified change's trigger in PostgreSQL to its enforcement in memory")        \
    X(REVOCATION_LAG_MOST, "Link", "revocation_lag_most_us", GAUGE, "The longest of these so far") \
    X(CONNECTIONS, "Clients", "connected_clients", GAUGE, "Connections open")                      \
    X(CONNECTIONS_ACCEPTED, "Clients", "connections_accepted", COUNTER, "Connections accepted")    \
    X(CONNECTIONS_FULL, "Clients", "connections_refused_full", COUNTER,                            \
      "Connections refused at max_connections")                                                    \
    X(CONNECTIONS_FORBIDDEN, "Clients", "connections_refused_forbidden", COUNTER,                  \
      "Connections refused by allow_uids and allow_gids")                                          \
    X(ACCEPT_PAUSES, "Clients", "accept_pauses", COUNTER, "Times that accepting ran out of fds")   \
    X(PROTOCOL_ERRORS, "Clients", "protocol_errors", COUNTER, "Connections closed on bad input")   \
    X(CUT_OFF, "Clients", "connections_cut_off", COUNTER, "HTTP clients cut off by http.timeout")  \
    X(HTTP_REQUESTS, "Clients", "http_requests", COUNTER, "HTTP requests")                         \
    X(HTTP_REFUSED, "Clients", "http_requests_refused", COUNTER,                                   \
      "Those that were malformed, too large, or for another path or method")                       \
    X(COMMANDS_UNKNOWN, "Clients", "commands_unknown", COUNTER, "Requests for unknown commands")   \
    X(READ_PAUSES, "Clients", "read_pauses", COUNTER,                                              \
      "Times that a client was not read from until it took its replies")                           \
    X(LOG_LINES_DROPPED, "Clients", "log_lines_dropped", COUNTER, "Log lines without room")        \
    X(REDIS_UP, "Redis", "redis_up", GAUGE, "1 while Redis is in use")                             \
    X(REDIS_ROUND_TRIPS, "Redis", "redis_round_trips", COUNTER, "MGETs sent")                      \
    X(REDIS_KEYS, "Redis", "redis_keys_read", COUNTER, "Keys asked for in them")                   \
    X(REDIS_HITS, "Redis", "redis_hits", COUNTER, "Believed verdicts found")                       \
    X(REDIS_TIMEOUTS, "Redis", "redis_timeouts", COUNTER, "MGETs late by redis.timeout")           \
    X(REDIS_ERRORS, "Redis", "redis_errors", COUNTER, "Error replies and lost connections")        \
    X(REDIS_OPENED, "Redis", "redis_breaker_opened", COUNTER, "Times the breaker opened")          \
    X(REDIS_FILLS, "Redis", "redis_fills", COUNTER, "Verdicts written")                            \
    X(REDIS_TOMBSTONES, "Redis", "redis_tombstones", COUNTER, "Tombstones written")                \
    X(REDIS_FORGED, "Redis", "redis_forged", COUNTER, "Values ignored for a wrong tag")            \
    X(REDIS_BROKEN, "Redis", "redis_broken", COUNTER, "Values ignored for their format")           \
    X(POSTGRES_UP, "PostgreSQL", "postgres_connections_up", GAUGE, "Lookup connections ready")     \
    X(POSTGRES_SELECTS, "PostgreSQL", "postgres_selects", COUNTER, "Lookup SELECTs sent")          \
    X(POSTGRES_KEYS, "PostgreSQL", "postgres_keys_read", COUNTER, "Keys asked for in them")        \
    X(POSTGRES_TIMEOUTS, "PostgreSQL", "postgres_timeouts", COUNTER,                               \
      "SELECTs late by postgres.timeout")                                                          \
    X(POSTGRES_ERRORS, "PostgreSQL", "postgres_errors", COUNTER,                                   \
      "Failed SELECTs and lost connections")                                                       \
    X(USAGE_RECORDED, "Usage", "usage_recorded", COUNTER, "ALLOWs recorded in the ledger")         \
    X(USAGE_UNRECORDED, "Usage", "usage_unrecorded", COUNTER,                                      \
      "ALLOWs not recorded: the ledger's file system is full")                                     \
    X(USAGE_SWAPS, "Usage", "usage_swaps", COUNTER, "Ledger halves drained")                       \
    X(USAGE_PENDING, "Usage", "usage_pending", GAUGE, "Keys whose last_used is not written yet")   \
    X(USAGE_STATEMENTS, "Usage", "usage_statements", COUNTER, "UPDATE statements committed")       \
    X(USAGE_ROWS, "Usage", "usage_rows_updated", COUNTER, "Rows updated by them")                  \
    X(USAGE_LOCKED, "Usage", "usage_rows_locked", COUNTER,                                         \
      "Rows left for the next round, as somebody else held their lock")                            \
    X(USAGE_FAILURES, "Usage", "usage_flush_failures", COUNTER, "UPDATE statements that failed")   \
    X(SPILL_WRITES, "Usage", "usage_spill_writes", COUNTER, "Spill files written")                 \
    X(SPILL_FAILURES, "Usage", "usage_spill_failures", COUNTER, "Spill files not written")

enum counter {
#define X(enumerator, section, name, kind, help) COUNT_##enumerator,
    COUNTERS(X)
#undef X
        COUNTER_COUNT
};

struct counters {
    uint64_t value[COUNTER_COUNT];
};

/* target += addend */
void counters_add(struct counters *target, const struct counters *addend);

/* Append the counters as an INFO text: "# Section", then name:value lines. `section` limits it to
 * one ("" is all). */
void counters_print_info(const struct counters *counters, const char *section, struct buffer *out);

/* Append them in Prometheus' text exposition format, version 0.0.4. */
void counters_print_metrics(const struct counters *counters, struct buffer *out);

/* The table for the manual. */
void counters_print_markdown(FILE *out);

#endif
