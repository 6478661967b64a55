/* metrics: every number that the daemon keeps, from one table.
 *
 * METRICS and HISTOGRAMS are the table; the enums, INFO, METRICS, the metrics page and the manual's
 * list come from them. Each thread has a struct of its own and adds to it without a lock; a reader
 * adds the structs up. A gauge is a current value; its owner sets it just before it is shown.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_METRICS_H
#define APIKEYD_METRICS_H

#include <stdint.h>
#include <stdio.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/base/histogram.h>
#include <apikeyd/base/slice.h>
#include <apikeyd/model/verdict.h>

/* X(enumerator, section, name, kind, family, labels, help[, OLD(name, family)])
 *
 * `section` and `name` are INFO's; INFO omits a metric without a name. `family` and `labels` are
 * Prometheus', with prefix apikeyd_ (process_ for PROCESS…); METRICS omits a metric without a
 * family. The rows of a family stand together, and the first help is the one shown. A number of
 * kind …_US is kept in µs and exposed in seconds, one of kind …_PPM in millionths and exposed as a
 * ratio. OLD has the deprecated names of a renamed metric, "" for none: INFO and METRICS show its
 * value under these too. */
#define METRICS(X)                                                                                 \
    /* In the order of metric_of_check(). */                                                       \
    X(ALLOW_MEMORY, "", "", COUNTER, "checks_total", "verdict=\"allow\",tier=\"memory\"",          \
      "Checks answered, by verdict and tier")                                                      \
    X(ALLOW_REDIS, "", "", COUNTER, "checks_total", "verdict=\"allow\",tier=\"redis\"",            \
      "The same")                                                                                  \
    X(ALLOW_POSTGRES, "", "", COUNTER, "checks_total", "verdict=\"allow\",tier=\"postgres\"",      \
      "The same")                                                                                  \
    X(ALLOW_STALE, "", "", COUNTER, "checks_total", "verdict=\"allow\",tier=\"stale\"",            \
      "The same")                                                                                  \
    X(UNKNOWN_MEMORY, "", "", COUNTER, "checks_total", "verdict=\"deny_unknown\",tier=\"memory\"", \
      "The same")                                                                                  \
    X(UNKNOWN_REDIS, "", "", COUNTER, "checks_total", "verdict=\"deny_unknown\",tier=\"redis\"",   \
      "The same")                                                                                  \
    X(UNKNOWN_POSTGRES, "", "", COUNTER, "checks_total",                                           \
      "verdict=\"deny_unknown\",tier=\"postgres\"", "The same")                                    \
    X(UNKNOWN_STALE, "", "", COUNTER, "checks_total", "verdict=\"deny_unknown\",tier=\"stale\"",   \
      "The same")                                                                                  \
    X(INACTIVE_MEMORY, "", "", COUNTER, "checks_total",                                            \
      "verdict=\"deny_inactive\",tier=\"memory\"", "The same")                                     \
    X(INACTIVE_REDIS, "", "", COUNTER, "checks_total", "verdict=\"deny_inactive\",tier=\"redis\"", \
      "The same")                                                                                  \
    X(INACTIVE_POSTGRES, "", "", COUNTER, "checks_total",                                          \
      "verdict=\"deny_inactive\",tier=\"postgres\"", "The same")                                   \
    X(INACTIVE_STALE, "", "", COUNTER, "checks_total", "verdict=\"deny_inactive\",tier=\"stale\"", \
      "The same")                                                                                  \
    X(EXPIRED_MEMORY, "", "", COUNTER, "checks_total", "verdict=\"deny_expired\",tier=\"memory\"", \
      "The same")                                                                                  \
    X(EXPIRED_REDIS, "", "", COUNTER, "checks_total", "verdict=\"deny_expired\",tier=\"redis\"",   \
      "The same")                                                                                  \
    X(EXPIRED_POSTGRES, "", "", COUNTER, "checks_total",                                           \
      "verdict=\"deny_expired\",tier=\"postgres\"", "The same")                                    \
    X(EXPIRED_STALE, "", "", COUNTER, "checks_total", "verdict=\"deny_expired\",tier=\"stale\"",   \
      "The same")                                                                                  \
    X(EARLY_MEMORY, "", "", COUNTER, "checks_total", "verdict=\"deny_early\",tier=\"memory\"",     \
      "The same")                                                                                  \
    X(EARLY_REDIS, "", "", COUNTER, "checks_total", "verdict=\"deny_early\",tier=\"redis\"",       \
      "The same")                                                                                  \
    X(EARLY_POSTGRES, "", "", COUNTER, "checks_total", "verdict=\"deny_early\",tier=\"postgres\"", \
      "The same")                                                                                  \
    X(EARLY_STALE, "", "", COUNTER, "checks_total", "verdict=\"deny_early\",tier=\"stale\"",       \
      "The same")                                                                                  \
    X(CHECKS_UNAVAILABLE, "Checks", "checks_unavailable", COUNTER, "checks_total",                 \
      "verdict=\"unavailable\",tier=\"none\"", "Checks answered UNAVAILABLE")                      \
    X(CHECKS_MALFORMED, "Checks", "checks_malformed", COUNTER, "checks_total",                     \
      "verdict=\"deny_malformed\",tier=\"none\"",                                                  \
      "Checks answered DENY unknown without a lookup, because keys.form says that the key cannot " \
      "exist")                                                                                     \
    /* Sums of the rows above, made by metrics_sum(). */                                           \
    X(CHECKS_ALLOW, "Checks", "checks_allow", COUNTER, "", "", "Checks answered ALLOW")            \
    X(CHECKS_UNKNOWN, "Checks", "checks_deny_unknown", COUNTER, "", "",                            \
      "Checks answered DENY unknown")                                                              \
    X(CHECKS_INACTIVE, "Checks", "checks_deny_inactive", COUNTER, "", "",                          \
      "Checks answered DENY inactive")                                                             \
    X(CHECKS_EXPIRED, "Checks", "checks_deny_expired", COUNTER, "", "",                            \
      "Checks answered DENY expired")                                                              \
    X(CHECKS_EARLY, "Checks", "checks_deny_early", COUNTER, "", "", "Checks answered DENY early")  \
    X(HITS_MEMORY, "Checks", "checks_from_memory", COUNTER, "", "", "Checks answered from memory") \
    X(HITS_REDIS, "Checks", "checks_from_redis", COUNTER, "", "", "Checks answered from Redis")    \
    X(HITS_POSTGRES, "Checks", "checks_from_postgres", COUNTER, "", "",                            \
      "Checks answered from PostgreSQL")                                                           \
    X(HITS_STALE, "Checks", "checks_stale", COUNTER, "", "",                                       \
      "Checks answered stale because no store answered")                                           \
    X(OVER_QUOTA, "Checks", "checks_over_quota", COUNTER, "checks_over_quota_total", "",           \
      "Checks of keys that had used up their quota of the month")                                  \
    X(LOOKUPS, "Checks", "lookups", COUNTER, "lookups_total", "",                                  \
      "Lookups sent to the back thread")                                                           \
    X(LOOKUPS_SHARED, "Checks", "lookups_shared", COUNTER, "lookups_shared_total", "",             \
      "Misses that joined a lookup")                                                               \
    X(REFRESHES, "Checks", "refreshes", COUNTER, "refreshes_total", "",                            \
      "Refreshes ahead of expiry")                                                                 \
    X(DEADLINES, "Checks", "deadlines_passed", COUNTER, "deadlines_passed_total", "",              \
      "Checks whose WITHIN passed")                                                                \
    X(CHECKS_OVERDUE, "Checks", "checks_overdue", COUNTER, "checks_overdue_total", "",             \
      "Checks answered stale or UNAVAILABLE because their lookup took longer than a check may "    \
      "wait")                                                                                      \
    X(OVERLOADS, "Checks", "lookups_overloaded", COUNTER, "lookups_overloaded_total", "",          \
      "Misses refused at max_pending")                                                             \
    X(BACK_STANDSTILLS, "Checks", "back_standstills", COUNTER, "back_standstills_total", "",       \
      "Times that the back thread stood still for longer than a check may wait")                   \
    X(DUPLICATE_KEYS, "Checks", "duplicate_key_ids", COUNTER, "duplicate_key_ids_total", "",       \
      "Lookups that found several rows with one key ID")                                           \
    X(LOOKUPS_PENDING, "Checks", "lookups_pending", GAUGE, "lookups_pending", "",                  \
      "Lookups in flight")                                                                         \
    X(CHECKS_REFUSED, "Checks", "checks_refused", COUNTER, "requests_refused_total",               \
      "reason=\"key\"", "Requests answered with an error, by reason")                              \
    X(COMMANDS_UNKNOWN, "Clients", "commands_unknown", COUNTER, "requests_refused_total",          \
      "reason=\"command\"", "Requests for unknown commands")                                       \
    X(PROTOCOL_ERRORS, "Clients", "protocol_errors", COUNTER, "requests_refused_total",            \
      "reason=\"protocol\"", "Connections closed after malformed input")                           \
    X(HTTP_REFUSED, "Clients", "http_requests_refused", COUNTER, "requests_refused_total",         \
      "reason=\"http\"",                                                                           \
      "HTTP requests that are malformed, too large, with two keys, or for another path or method") \
    X(CONNECTIONS, "Clients", "connected_clients", GAUGE, "connections", "", "Connections open")   \
    X(CONNECTIONS_MAX, "Clients", "maxclients", GAUGE, "connections_limit", "",                    \
      "listen.max_connections")                                                                    \
    X(CONNECTIONS_ACCEPTED, "Clients", "connections_accepted", COUNTER,                            \
      "connections_accepted_total", "", "Connections accepted")                                    \
    X(CONNECTIONS_FULL, "Clients", "connections_refused_full", COUNTER,                            \
      "connections_refused_total", "reason=\"max_connections\"",                                   \
      "Connections refused at max_connections")                                                    \
    X(CONNECTIONS_OVER_SHARE, "Clients", "connections_refused_share", COUNTER,                     \
      "connections_refused_total", "reason=\"process_share\"",                                     \
      "Connections refused to a process that has its share of max_connections")                    \
    X(CONNECTIONS_FORBIDDEN, "Clients", "connections_refused_forbidden", COUNTER,                  \
      "connections_refused_total", "reason=\"forbidden\"",                                         \
      "Connections refused by allow_uids and allow_gids")                                          \
    X(SOCKETS_LOST, "Clients", "sockets_lost", GAUGE, "sockets_lost", "",                          \
      "Listening sockets whose file was removed or replaced, so that no client can connect")       \
    X(SOCKETS_REBOUND, "Clients", "sockets_rebound", COUNTER, "sockets_rebound_total", "",         \
      "Listening sockets bound again after their file was removed")                                \
    X(ACCEPT_PAUSES, "Clients", "accept_pauses", COUNTER, "accept_pauses_total", "",               \
      "Times that no file descriptor was left for a new connection")                               \
    X(CUT_OFF, "Clients", "connections_cut_off", COUNTER, "connections_cut_off_total", "",         \
      "HTTP connections closed by http.timeout")                                                   \
    X(HTTP_REQUESTS, "Clients", "http_requests", COUNTER, "http_requests_total", "",               \
      "HTTP requests")                                                                             \
    X(HTTP_PREFLIGHTS, "Clients", "http_preflights", COUNTER, "http_preflights_total", "",         \
      "CORS preflights without a key that were answered with 200 (http.preflight)")                \
    X(READ_PAUSES, "Clients", "read_pauses", COUNTER, "read_pauses_total", "",                     \
      "Times that reading from a client paused until its replies were sent")                       \
    X(CACHE_ENTRIES, "Cache", "cache_entries", GAUGE, "cache_entries", "table=\"keys\"",           \
      "Verdicts in memory on existing keys")                                                       \
    X(NEGATIVE_ENTRIES, "Cache", "negative_entries", GAUGE, "cache_entries", "table=\"unknown\"",  \
      "DENY unknown verdicts in memory")                                                           \
    X(CACHE_SLOTS, "Cache", "cache_slots", GAUGE, "cache_slots", "table=\"keys\"",                 \
      "Room for them")                                                                             \
    X(NEGATIVE_SLOTS, "Cache", "negative_slots", GAUGE, "cache_slots", "table=\"unknown\"",        \
      "Room for them")                                                                             \
    X(CACHE_BYTES, "Cache", "cache_bytes", GAUGE, "cache_bytes", "table=\"keys\"",                 \
      "Memory of the verdicts' slots, bytes: 65 a slot, or 129 where IDs are text, with its tag; " \
      "16 more where keys have windows")                                                           \
    X(NEGATIVE_BYTES, "Cache", "negative_bytes", GAUGE, "cache_bytes", "table=\"unknown\"",        \
      "The same for the table of DENY unknown")                                                    \
    X(CACHE_EVICTIONS, "Cache", "cache_evictions", COUNTER, "cache_evictions_total",               \
      "table=\"keys\"", "Fresh verdicts evicted")                                                  \
    X(NEGATIVE_EVICTIONS, "Cache", "negative_evictions", COUNTER, "cache_evictions_total",         \
      "table=\"unknown\"", "Fresh DENY unknown verdicts evicted")                                  \
    X(ATTRIBUTE_BYTES, "Cache", "attribute_bytes", GAUGE, "attribute_bytes", "",                   \
      "Memory of the region for attributes, bytes (cache.attribute_memory); 0: keys have none")    \
    X(ATTRIBUTE_USED, "Cache", "attribute_used_bytes", GAUGE, "attribute_used_bytes", "",          \
      "Bytes of it that attributes of verdicts in memory take")                                    \
    X(ATTRIBUTE_EVICTIONS, "Cache", "attribute_evictions", COUNTER, "attribute_evictions_total",   \
      "", "Fresh verdicts evicted as the region for attributes was full")                          \
    X(INVALIDATIONS, "Cache", "invalidations", COUNTER, "invalidations_total", "",                 \
      "Keys invalidated")                                                                          \
    X(FEED_UP, "Feed", "feed_up", GAUGE, "feed_up", "",                                            \
      "1 while the change feed delivers changes as they are committed", OLD("link_up", "link_up")) \
    X(FEED_TRIGGER, "Feed", "feed_trigger", GAUGE, "feed_trigger", "",                             \
      "1 while a trigger notifies of changes", OLD("link_trigger", "link_trigger"))                \
    X(FEED_LOSSES, "Feed", "feed_losses", COUNTER, "feed_losses_total", "",                        \
      "Times that the change feed was lost", OLD("link_losses", "link_losses_total"))              \
    X(FEED_HEARTBEATS, "Feed", "feed_heartbeats", COUNTER, "feed_heartbeats_total", "",            \
      "Heartbeats answered", OLD("link_heartbeats", "link_heartbeats_total"))                      \
    X(FEED_ROUND_TRIP, "Feed", "feed_round_trip_us", GAUGE_US, "feed_round_trip_seconds", "",      \
      "The last heartbeat's round trip", OLD("link_round_trip_us", "link_round_trip_seconds"))     \
    X(FEED_NOTIFICATIONS, "Feed", "feed_notifications", COUNTER, "feed_notifications_total", "",   \
      "Notifications received", OLD("link_notifications", "link_notifications_total"))             \
    X(CLOCK_JUMPS, "Feed", "clock_jumps", COUNTER, "clock_jumps_total", "",                        \
      "Jumps between this host's clocks: a pause of the machine, or a clock that was set")         \
    X(FEED_BAD, "Feed", "feed_notifications_bad", COUNTER, "feed_notifications_bad_total", "",     \
      "Malformed notifications, which are ignored",                                                \
      OLD("link_notifications_bad", "link_notifications_bad_total"))                               \
    X(FEED_COALESCED, "Feed", "feed_notifications_coalesced", COUNTER,                             \
      "feed_notifications_coalesced_total", "",                                                    \
      "Notifications that were handled as one change of all keys because there were too many",     \
      OLD("link_notifications_coalesced", "link_notifications_coalesced_total"))                   \
    X(FEED_UNANNOUNCED, "Feed", "feed_changes_unannounced", COUNTER,                               \
      "feed_changes_unannounced_total", "",                                                        \
      "Heartbeats that found changes that the trigger could not notify because the queue was "     \
      "full",                                                                                      \
      OLD("link_changes_unannounced", "link_changes_unannounced_total"))                           \
    X(FEED_QUEUE, "Feed", "feed_queue_usage_ppm", GAUGE_PPM, "feed_queue_usage_ratio", "",         \
      "Used part of PostgreSQL's notification queue",                                              \
      OLD("link_queue_usage_ppm", "link_queue_usage_ratio"))                                       \
    X(FEED_RELAYS, "Feed", "feed_relays", GAUGE, "feed_relays", "",                                \
      "Relays that confirm the change feed through Redis now (feed.source)")                       \
    X(FEED_ENTRIES, "Feed", "feed_entries", COUNTER, "feed_entries_total", "",                     \
      "Entries of relays read from Redis")                                                         \
    X(FEED_ENTRIES_BAD, "Feed", "feed_entries_bad", COUNTER, "feed_entries_bad_total", "",         \
      "Entries in Redis that were ignored: without a valid tag, or malformed")                     \
    X(FEED_GAPS, "Feed", "feed_gaps", COUNTER, "feed_gaps_total", "",                              \
      "Times that entries of a relay were missing in Redis")                                       \
    X(RELAY_ENTRIES, "Feed", "relay_entries", COUNTER, "relay_entries_total", "",                  \
      "Entries sent to Redis for sidecars (feed.relay)")                                           \
    X(RELAY_LOST, "Feed", "relay_entries_lost", COUNTER, "relay_entries_lost_total", "",           \
      "Entries for sidecars that Redis did not take")                                              \
    X(READS_ELSEWHERE, "Feed", "lookups_elsewhere", COUNTER, "lookups_elsewhere_total", "",        \
      "Lookup SELECTs answered by another store than the change feed's")                           \
    X(READS_UNUSED, "Feed", "lookups_unused", COUNTER, "lookups_unused_total", "",                 \
      "Answers of PostgreSQL not used: from a standby or an old timeline, or rows may be hidden")  \
    X(REVOCATION_LAG, "Feed", "revocation_lag_us", GAUGE_US, "", "",                               \
      "From the last notified change's trigger in PostgreSQL to its enforcement in memory")        \
    X(REVOCATION_LAG_MAX, "Feed", "revocation_lag_max_us", GAUGE_US,                               \
      "revocation_lag_longest_seconds", "", "The longest revocation lag so far",                   \
      OLD("revocation_lag_most_us", ""))                                                           \
    X(LOG_LINES_QUEUED, "Log", "log_lines_queued", GAUGE, "log_lines_queued", "",                  \
      "Log lines that wait to be written")                                                         \
    X(LOG_LINES_DROPPED, "Log", "log_lines_dropped", COUNTER, "log_lines_dropped_total", "",       \
      "Log lines lost: the log's reader stands still, or the log cannot be written")               \
    X(DENIALS_UNLOGGED, "Log", "denials_unlogged", COUNTER, "denials_unlogged_total", "",          \
      "Refusals without a line of their own: beyond the rate of log.denials (sampled, all)")       \
    X(REDIS_CONFIGURED, "Redis", "redis_configured", GAUGE, "redis_configured", "",                \
      "1 when redis.url is set")                                                                   \
    X(REDIS_UP, "Redis", "redis_up", GAUGE, "redis_up", "",                                        \
      "1 while lookups ask Redis, 0 while the breaker is open")                                    \
    X(REDIS_WRITABLE, "Redis", "redis_writable", GAUGE, "redis_writable", "",                      \
      "1 while Redis takes fills and tombstones, 0 while it refuses them or is not in use")        \
    X(REDIS_ROUND_TRIPS, "Redis", "redis_round_trips", COUNTER, "redis_round_trips_total", "",     \
      "MGETs sent")                                                                                \
    X(REDIS_KEYS, "Redis", "redis_keys_read", COUNTER, "redis_keys_read_total", "",                \
      "Keys asked for in them")                                                                    \
    X(REDIS_HITS, "Redis", "redis_hits", COUNTER, "redis_hits_total", "",                          \
      "Fresh verdicts found in Redis")                                                             \
    X(REDIS_TIMEOUTS, "Redis", "redis_timeouts", COUNTER, "redis_timeouts_total", "",              \
      "MGETs late by redis.timeout")                                                               \
    X(REDIS_ERRORS, "Redis", "redis_errors", COUNTER, "redis_errors_total", "",                    \
      "Error replies of Redis, failed attempts to connect and lost connections")                   \
    X(REDIS_TOO_LONG, "Redis", "redis_replies_too_long", COUNTER, "redis_replies_too_long_total",  \
      "", "Connections closed for a reply longer than apikeyd's own values can cause")             \
    X(REDIS_OPENED, "Redis", "redis_breaker_opened", COUNTER, "redis_breaker_opened_total", "",    \
      "Times the breaker opened")                                                                  \
    X(REDIS_FILLS, "Redis", "redis_fills", COUNTER, "redis_fills_total", "", "Verdicts written")   \
    X(REDIS_TOMBSTONES, "Redis", "redis_tombstones", COUNTER, "redis_tombstones_total", "",        \
      "Tombstones written")                                                                        \
    X(REDIS_DROPPED, "Redis", "redis_writes_dropped", COUNTER, "redis_writes_dropped_total", "",   \
      "Fills and tombstones not sent: too many requests wait for Redis")                           \
    X(REDIS_FORGED, "Redis", "redis_forged", COUNTER, "redis_values_ignored_total",                \
      "reason=\"forged\"", "Values ignored for a wrong tag")                                       \
    X(REDIS_BROKEN, "Redis", "redis_broken", COUNTER, "redis_values_ignored_total",                \
      "reason=\"format\"", "Values ignored for their format")                                      \
    X(POSTGRES_WANTED, "PostgreSQL", "postgres_connections", GAUGE, "postgres_connections", "",    \
      "Lookup connections wanted")                                                                 \
    X(POSTGRES_UP, "PostgreSQL", "postgres_connections_up", GAUGE, "postgres_connections_up", "",  \
      "Lookup connections ready")                                                                  \
    X(POSTGRES_ANSWERS, "PostgreSQL", "postgres_answers", GAUGE, "postgres_answers", "",           \
      "1 while PostgreSQL answers lookups, by the change feed's session if by no other")           \
    X(POSTGRES_UNRESOLVED, "PostgreSQL", "postgres_unresolved", GAUGE, "postgres_unresolved", "",  \
      "Sessions of any kind that wait for a host name without an address")                         \
    X(POSTGRES_REFUSED, "PostgreSQL", "postgres_refused", GAUGE, "postgres_refused", "",           \
      "Sessions of any kind for which PostgreSQL has no room")                                     \
    X(POSTGRES_CONNECTS, "PostgreSQL", "postgres_connects", COUNTER, "postgres_connects_total",    \
      "", "Sessions of any kind that were made")                                                   \
    X(POSTGRES_FAILED_LOGIN, "PostgreSQL", "postgres_connects_failed_login", COUNTER,              \
      "postgres_connects_failed_total", "reason=\"login\"",                                        \
      "Attempts to connect that failed: no right password, certificate, role or pg_hba.conf "      \
      "entry")                                                                                     \
    X(POSTGRES_FAILED_TLS, "PostgreSQL", "postgres_connects_failed_tls", COUNTER,                  \
      "postgres_connects_failed_total", "reason=\"tls\"",                                          \
      "Attempts to connect that failed: no TLS, or a certificate that does not hold")              \
    X(POSTGRES_FAILED_ROOM, "PostgreSQL", "postgres_connects_failed_room", COUNTER,                \
      "postgres_connects_failed_total", "reason=\"room\"",                                         \
      "Attempts to connect that failed: PostgreSQL has no room for the session")                   \
    X(POSTGRES_FAILED_NAME, "PostgreSQL", "postgres_connects_failed_name", COUNTER,                \
      "postgres_connects_failed_total", "reason=\"name\"",                                         \
      "Attempts to connect that failed: no host name has an address")                              \
    X(POSTGRES_FAILED_OTHER, "PostgreSQL", "postgres_connects_failed_other", COUNTER,              \
      "postgres_connects_failed_total", "reason=\"other\"",                                        \
      "Attempts to connect that failed: nobody answers, or for another reason")                    \
    X(POSTGRES_RENEWALS, "PostgreSQL", "postgres_renewals", COUNTER, "postgres_renewals_total",    \
      "", "Sessions whose place another one took before postgres.max_age")                         \
    X(POSTGRES_OLDEST, "PostgreSQL", "postgres_oldest_session_us", GAUGE_US,                       \
      "postgres_oldest_session_seconds", "", "Age of the oldest session of any kind")              \
    X(POSTGRES_SELECTS, "PostgreSQL", "postgres_selects", COUNTER, "postgres_selects_total", "",   \
      "Lookup SELECTs sent")                                                                       \
    X(POSTGRES_KEYS, "PostgreSQL", "postgres_keys_read", COUNTER, "postgres_keys_read_total", "",  \
      "Keys asked for in them")                                                                    \
    X(FOUND_BY_FALLBACK, "PostgreSQL", "found_by_fallback", COUNTER, "found_by_fallback_total",    \
      "", "Rows found by key_column_fallback alone: they have no hash yet")                        \
    X(FOUND_BY_OLDER_SECRET, "PostgreSQL", "found_by_older_secret", COUNTER,                       \
      "found_by_older_secret_total", "",                                                           \
      "Rows whose hash is by another secret than the first of key_transform_secret_file")          \
    X(FOUND_WITHOUT_FORM, "PostgreSQL", "found_without_form", COUNTER, "found_without_form_total", \
      "",                                                                                          \
      "Rows whose key has not the form of keys.prefix: with keys.form = prefixed it is refused")   \
    X(KEYS_ENDING, "PostgreSQL", "keys_ending_7d", GAUGE, "keys_ending", "within=\"7d\"",          \
      "Active keys that end within 7 days (postgres.expires_column), every 5 minutes; only one "   \
      "daemon of those that share a table shows it")                                               \
    X(ATTRIBUTES_LEFT_OUT, "PostgreSQL", "attributes_left_out", COUNTER,                           \
      "attributes_left_out_total", "",                                                             \
      "Values of attribute_columns that lookups left out: too long, or nothing that an attribute " \
      "can be")                                                                                    \
    X(POSTGRES_TIMEOUTS, "PostgreSQL", "postgres_timeouts", COUNTER, "postgres_timeouts_total",    \
      "", "SELECTs late by postgres.timeout")                                                      \
    X(POSTGRES_ERRORS, "PostgreSQL", "postgres_errors", COUNTER, "postgres_errors_total", "",      \
      "Failed SELECTs and lost connections")                                                       \
    X(USAGE_RECORDED, "Usage", "usage_recorded", COUNTER, "usage_recorded_total", "",              \
      "ALLOWs recorded in the ledger")                                                             \
    X(USAGE_UNRECORDED, "Usage", "usage_unrecorded", COUNTER, "usage_unrecorded_total", "",        \
      "ALLOWs not recorded: the ledger is full")                                                   \
    X(USAGE_LOST, "Usage", "usage_lost", COUNTER, "usage_lost_total", "",                          \
      "Maximum number of keys whose last_used was lost with the ledger's file or by damage")       \
    X(USAGE_CLAMPED, "Usage", "usage_clamped", COUNTER, "usage_clamped_total", "",                 \
      "Uses recorded with a time later than now, because a clock was ahead, and counted as now")   \
    X(USAGE_SWAPS, "Usage", "usage_swaps", COUNTER, "usage_swaps_total", "",                       \
      "Ledger halves drained")                                                                     \
    X(USAGE_PENDING, "Usage", "usage_pending", GAUGE, "usage_pending", "",                         \
      "Keys whose last_used is not written yet")                                                   \
    X(USAGE_OLDEST, "Usage", "usage_oldest_pending_us", GAUGE_US, "usage_oldest_pending_seconds",  \
      "", "Maximum age of the oldest use that is not written yet")                                 \
    X(USAGE_UP, "Usage", "usage_up", GAUGE, "usage_up", "",                                        \
      "1 while usage is written: its session leads to the lookups' store, and the last round had " \
      "no failure")                                                                                \
    X(USAGE_DISK_BUSY, "Usage", "usage_disk_busy_us", GAUGE_US, "usage_disk_busy_seconds", "",     \
      "How long the disk has worked at a job for usage, 0 when there is none")                     \
    X(USAGE_STATEMENTS, "Usage", "usage_statements", COUNTER, "usage_statements_total", "",        \
      "UPDATE statements committed")                                                               \
    X(USAGE_ROWS, "Usage", "usage_rows_updated", COUNTER, "usage_rows_updated_total", "",          \
      "Rows updated by them")                                                                      \
    X(USAGE_LOCKED, "Usage", "usage_rows_locked", COUNTER, "usage_rows_locked_total", "",          \
      "Rows left for the next round because another session held their lock")                      \
    X(USAGE_FAILURES, "Usage", "usage_flush_failures", COUNTER, "usage_flush_failures_total", "",  \
      "UPDATE statements that failed")                                                             \
    X(USAGE_ASIDE, "Usage", "usage_keys_set_aside", COUNTER, "usage_keys_set_aside_total", "",     \
      "Keys whose usage belongs to another store and was set aside")                               \
    X(LEDGER_SAFE, "Usage", "usage_ledger_safe", GAUGE, "usage_ledger_safe", "",                   \
      "1 while usage outlives a killed daemon, 0 while some of it is in memory only")              \
    X(LEDGER_REPAIRS, "Usage", "usage_ledger_repairs", COUNTER, "usage_ledger_repairs_total", "",  \
      "Times that a new ledger file replaced a lost one, or memory")                               \
    X(LEDGER_BYTES, "Usage", "usage_ledger_bytes", GAUGE, "usage_ledger_bytes", "",                \
      "Memory used by the ledger's file, bytes")                                                   \
    X(SPILL_BYTES, "Usage", "usage_spill_bytes", GAUGE, "usage_spill_bytes", "",                   \
      "Size of the spill file, bytes; 0 when there is none")                                       \
    X(SPILL_WRITES, "Usage", "usage_spill_writes", COUNTER, "usage_spill_writes_total", "",        \
      "Spill files written")                                                                       \
    X(SPILL_FAILURES, "Usage", "usage_spill_failures", COUNTER, "usage_spill_failures_total", "",  \
      "Spill files that could not be written")                                                     \
    X(COUNTS_ROWS, "Usage", "usage_counts_rows", COUNTER, "usage_counts_rows_total", "",           \
      "Rows of the table of counts that were added to")                                            \
    X(COUNTS_PENDING, "Usage", "usage_counts_pending", GAUGE, "usage_counts_pending", "",          \
      "Rows of counts that are not in the table yet, without those of the ledger")                 \
    X(COUNTS_FAILURES, "Usage", "usage_counts_failures", COUNTER, "usage_counts_failures_total",   \
      "", "Statements for counts that failed")                                                     \
    X(COUNTS_LOST, "Usage", "usage_counts_lost", COUNTER, "usage_counts_lost_total", "",           \
      "Uses that will not be counted")                                                             \
    X(QUOTA_SUMS, "Usage", "quota_sums", COUNTER, "quota_sums_total", "",                          \
      "Sums of a key's uses in the month that were read for postgres.quota_column")                \
    X(QUOTA_SUMS_WAITING, "Usage", "quota_sums_waiting", GAUGE, "quota_sums_waiting", "",          \
      "Keys with a quota whose sum waits to be read")                                              \
    X(QUOTA_SUMS_FAILED, "Usage", "quota_sums_failed", COUNTER, "quota_sums_failed_total", "",     \
      "Statements for such sums that failed; quotas are judged by the last ones")                  \
    X(QUOTA_EVICTIONS, "Usage", "quota_evictions", COUNTER, "quota_evictions_total", "",           \
      "Keys with a quota whose uses were forgotten, to be read anew, because many others came")    \
    X(BUILD_INFO, "", "", GAUGE, "build_info", "version=\"" APIKEYD_VERSION "\"",                  \
      "1; the label tells which version runs")                                                     \
    X(FRONT_CPU, "Process", "front_cpu_us", COUNTER_US, "thread_cpu_seconds_total",                \
      "thread=\"front\"", "Processor time of a thread; the front thread can use one processor")    \
    X(BACK_CPU, "Process", "back_cpu_us", COUNTER_US, "thread_cpu_seconds_total",                  \
      "thread=\"back\"", "Processor time of the back thread")                                      \
    X(FRONT_CPU_CONFIGURED, "Process", "front_cpu_configured", GAUGE, "front_cpu_configured", "",  \
      "1 when listen.cpu is set")                                                                  \
    X(FRONT_CPU_HELD, "Process", "front_cpu_held", GAUGE, "front_cpu_held", "",                    \
      "1 while the front thread has that processor, and no other thread of the daemon may use it") \
    X(FRONT_CPU_LOSSES, "Process", "front_cpu_losses", COUNTER, "front_cpu_losses_total", "",      \
      "Times that threads were found on other processors than listen.cpu gives them")              \
    X(PROCESS_CPU, "Process", "process_cpu_us", COUNTER_US, "process_cpu_seconds_total", "",       \
      "Processor time of all threads, user and system")                                            \
    X(PROCESS_MEMORY, "Process", "process_resident_memory_bytes", GAUGE,                           \
      "process_resident_memory_bytes", "", "Resident memory, bytes")                               \
    X(PROCESS_FDS, "Process", "process_open_fds", GAUGE, "process_open_fds", "",                   \
      "Open file descriptors")                                                                     \
    X(PROCESS_FDS_MAX, "Process", "process_max_fds", GAUGE, "process_max_fds", "",                 \
      "File descriptors allowed")                                                                  \
    X(PROCESS_START, "Process", "process_start_time_us", GAUGE_US, "process_start_time_seconds",   \
      "", "When the daemon started, since 1970")

/* X(enumerator, name, family, labels, unit, help); INFO shows them as section Distributions. */
#define HISTOGRAMS(X)                                                                              \
    X(CHECK_MEMORY, "check_memory_us", "check_duration_seconds", "tier=\"memory\"", MICROSECONDS,  \
      "From reading a check to its answer, by the answer's tier; a hit counts the whole read "     \
      "that it came in")                                                                           \
    X(CHECK_REDIS, "check_redis_us", "check_duration_seconds", "tier=\"redis\"", MICROSECONDS,     \
      "The same of checks answered from Redis")                                                    \
    X(CHECK_POSTGRES, "check_postgres_us", "check_duration_seconds", "tier=\"postgres\"",          \
      MICROSECONDS, "The same of checks answered from PostgreSQL")                                 \
    X(CHECK_STALE, "check_stale_us", "check_duration_seconds", "tier=\"stale\"", MICROSECONDS,     \
      "The same of checks answered stale")                                                         \
    X(CHECK_NONE, "check_unavailable_us", "check_duration_seconds", "tier=\"none\"", MICROSECONDS, \
      "The same of checks answered UNAVAILABLE after waiting")                                     \
    X(REVOCATION_LAG_US, "revocation_us", "revocation_lag_seconds", "", MICROSECONDS,              \
      "From a notified change's trigger in PostgreSQL to its enforcement in memory")               \
    X(REDIS_TIME, "redis_us", "redis_round_trip_seconds", "", MICROSECONDS,                        \
      "Round trips of MGETs that were answered")                                                   \
    X(REDIS_BATCH, "redis_batch", "redis_batch_keys", "", ITEMS, "Keys in an MGET")                \
    X(POSTGRES_TIME, "postgres_us", "postgres_round_trip_seconds", "", MICROSECONDS,               \
      "Round trips of lookup SELECTs that were answered")                                          \
    X(POSTGRES_BATCH, "postgres_batch", "postgres_batch_keys", "", ITEMS, "Keys in a SELECT")      \
    X(FLUSH_TIME, "usage_flush_us", "usage_flush_duration_seconds", "", MICROSECONDS,              \
      "Rounds of writing usage, failed ones too")                                                  \
    X(USAGE_BATCH, "usage_batch", "usage_batch_rows", "", ITEMS, "Rows in an UPDATE")

enum metric {
#define X(enumerator, ...) METRIC_##enumerator,
    METRICS(X)
#undef X
        METRIC_COUNT
};

enum histogram_id {
#define X(enumerator, ...) HISTOGRAM_##enumerator,
    HISTOGRAMS(X)
#undef X
        HISTOGRAM_COUNT
};

/* The value of a gauge that is not known here: neither INFO nor METRICS show it. */
#define METRIC_ABSENT UINT64_MAX

struct metrics {
    uint64_t value[METRIC_COUNT];
    struct histogram histogram[HISTOGRAM_COUNT];
};

/* Returns the counter of a check's answer. The answer must not be UNAVAILABLE. */
static inline enum metric metric_of_check(enum verdict_kind kind, enum tier tier)
{
    return (enum metric)(METRIC_ALLOW_MEMORY + TIER_NONE * (kind - VERDICT_ALLOW) + tier);
}

/* target += addend; target -= part, after which gauges mean nothing */
void metrics_add(struct metrics *target, const struct metrics *addend);
void metrics_subtract(struct metrics *target, const struct metrics *part);

/* Fill in the sums, which exist only to be shown. */
void metrics_sum(struct metrics *metrics);

/* Append the metrics as an INFO text: "# Section", then name:value lines. `section` selects one
 * section by its name or deprecated name ("": all). */
void metrics_print_info(const struct metrics *metrics, const char *section, struct buffer *out);

/* Append the metrics in Prometheus' text exposition format, version 0.0.4. */
void metrics_print_exposition(const struct metrics *metrics, struct buffer *out);

/* Print the table for the manual. */
void metrics_print_markdown(FILE *out);

#endif
