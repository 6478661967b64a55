/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/log.h>
#include <apikeyd/base/rate_limit.h>
#include <apikeyd/config/config.h>
#include <apikeyd/config/option.h>

#define FIELD(field) .offset = offsetof(struct config, field)
#define MILLISECONDS(n) (INT64_C(1000) * (n))
#define SECONDS(n) (INT64_C(1000000) * (n))
#define HOURS(n) (INT64_C(3600) * 1000000 * (n))
#define KIB(n) (INT64_C(1024) * (n))
#define MIB(n) (INT64_C(1024) * 1024 * (n))
#define GIB(n) (INT64_C(1024) * 1024 * 1024 * (n))

enum { FIXED = false, RELOADABLE = true };

/* Texts: longest, in bytes. */
enum { URL_MAX = 4096, DSN_MAX = 16384, PREFIX_MAX = 128, TEXT_MAX = 127, HOST_MAX = 255 };

static const char *const http_sources[] = {
    "header:NAME", "bearer", "basic-user", "query:NAME", "query:NAME@HEADER", "cookie:NAME", NULL};
static const char *const aws_sources[] = {"api_key",       "api_key_id", "header",
                                          "header:NAME",   "query:NAME", "identity_source",
                                          "authorization", NULL};
static const char *const inactive_statuses[] = {"403", "401", NULL};
static const char *const preflights[] = {"deny", "allow", NULL};
static const char *const usage_keys[] = {"none", "key", "api_key_id", "user_id", NULL};
static const char *const feed_sources[] = {"postgres", "redis", "both", NULL};
static const char *const key_forms[] = {"any", "prefixed", NULL};
static const char *const transforms[] = {"none", "hmac-sha256", NULL};
static const char *const id_types[] = {"uuid", "bigint", "text", NULL};
static const char *const counts[] = {"off", "hour", "day", NULL};
static const char *const deleted_keys[] = {"keep", "drop", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const targets[] = {"auto", "journal", "stderr", NULL};
static const char *const denials[] = {"summary", "sampled", "all", "off", NULL};
static const char *const formats[] = {"text", "json", NULL};

const struct option option_table[] = {
    {"listen", "check", OPTION_SOCKET, FIELD(listen_check), "/run/apikeyd/check.sock", 1,
     OPTION_SOCKET_MAX, FIXED, NULL, "Unix socket on which gateways ask CHECK."},
    {"listen", "check_mode", OPTION_MODE, FIELD(listen_check_mode), "0660", 0, 0777, FIXED, NULL,
     "File mode of the check socket, octal."},
    {"listen", "check_group", OPTION_GROUP, FIELD(listen_check_group), "", 0, TEXT_MAX, FIXED, NULL,
     "Group that owns the check socket; empty: the daemon's."},
    {"listen", "admin", OPTION_SOCKET, FIELD(listen_admin), "/run/apikeyd/admin.sock", 0,
     OPTION_SOCKET_MAX, FIXED, NULL, "Unix socket for operators, mode 0600; empty: none."},
    {"listen", "http", OPTION_ADDRESS, FIELD(listen_http), "", 0, OPTION_SOCKET_MAX, FIXED, NULL,
     "HTTP authorizer: a Unix socket's path (check_mode and check_group also apply) or "
     "address:port; empty: none."},
    {"listen", "metrics", OPTION_ADDRESS, FIELD(listen_metrics), "127.0.0.1:9464", 0,
     OPTION_SOCKET_MAX, FIXED, NULL,
     "Metrics and status page over HTTP: a Unix socket's path (check_mode and check_group also "
     "apply) or address:port; empty: none."},
    {"listen", "max_connections", OPTION_COUNT, FIELD(listen_max_connections), "10000", 1, 1000000,
     RELOADABLE, NULL,
     "Maximum number of open connections, over all sockets; a process may have seven times as many "
     "as "
     "are free."},
    {"listen", "max_request", OPTION_SIZE, FIELD(listen_max_request), "4KiB", 512, KIB(64),
     RELOADABLE, NULL, "Bytes of one request; a longer one closes its connection."},
    {"listen", "allow_uids", OPTION_IDS, FIELD(listen_allow_uids), "", 0, 0, RELOADABLE, NULL,
     "Numeric user IDs that may connect, separated by commas; if allow_gids is empty too: "
     "every user."},
    {"listen", "allow_gids", OPTION_IDS, FIELD(listen_allow_gids), "", 0, 0, RELOADABLE, NULL,
     "Numeric group IDs that may connect, separated by commas."},
    {"listen", "drain_timeout", OPTION_DURATION, FIELD(listen_drain_timeout), "5s",
     MILLISECONDS(100), SECONDS(600), RELOADABLE, NULL,
     "How long a stop may take to answer requests in flight and write usage."},
    {"listen", "linger", OPTION_DURATION, FIELD(listen_linger), "0s", 0, SECONDS(600), RELOADABLE,
     NULL,
     "How long SIGTERM leaves everything answered before the stop begins; /readyz says at once "
     "that "
     "the daemon is draining."},
    {"listen", "cpu", OPTION_PROCESSOR, FIELD(listen_cpu), "", 0, TEXT_MAX, FIXED, NULL,
     "Processor on which the front thread runs, and no other thread of the daemon: its number, or "
     "last, the last one of those that the daemon is started on; empty: any."},

    {"cache", "memory", OPTION_SIZE, FIELD(cache_memory), "64MiB", KIB(4), GIB(64), FIXED, NULL,
     "Memory for verdicts on existing keys, 65 bytes each, or 129 where IDs are text."},
    {"cache", "negative_memory", OPTION_SIZE, FIELD(cache_negative_memory), "8MiB", KIB(4), GIB(8),
     FIXED, NULL, "Memory for DENY unknown, which floods of made-up keys can fill."},
    {"cache", "attribute_memory", OPTION_SIZE, FIELD(cache_attribute_memory), "16MiB", KIB(64),
     GIB(64), FIXED, NULL,
     "Memory for the attributes of verdicts in memory, if there is a postgres.attribute_columns or "
     "a "
     "postgres.quota_column; a "
     "key without attributes takes none of it."},
    {"cache", "ttl", OPTION_DURATION, FIELD(cache_ttl), "60s", MILLISECONDS(100), HOURS(24),
     RELOADABLE, NULL,
     "How long ALLOW and DENY inactive are fresh while the change feed is up: how late a "
     "revocation "
     "can be "
     "then if no trigger notifies of it."},
    {"cache", "ttl_unlinked", OPTION_DURATION, FIELD(cache_ttl_unlinked), "5s", MILLISECONDS(100),
     HOURS(24), RELOADABLE, NULL,
     "The bound of every ttl while the change feed is down: how late a revocation can be then."},
    {"cache", "negative_ttl", OPTION_DURATION, FIELD(cache_negative_ttl), "30s", MILLISECONDS(100),
     HOURS(24), RELOADABLE, NULL, "How long DENY unknown is fresh."},
    {"cache", "stale_max", OPTION_DURATION, FIELD(cache_stale_max), "5m", 0, HOURS(24), RELOADABLE,
     NULL, "Maximum age of a verdict that is served while no store answers; 0s: never."},

    {"keys", "form", OPTION_CHOICE, FIELD(keys_form), "any", 0, 0, RELOADABLE, key_forms,
     "any, or prefixed: a key that has not the form of those that apikeyctl keys create makes, "
     "with "
     "one of the prefixes, is DENY unknown at once, and no store is asked."},
    {"keys", "prefix", OPTION_KEY_PREFIXES, FIELD(keys_prefix), "key", 0, 0, RELOADABLE, NULL,
     "Prefixes of keys, with commas in between: the first is that of new keys, keys with another "
     "have the form too."},

    {"redis", "url", OPTION_REDIS_URL, FIELD(redis_url), "unix:///run/redis/redis-server.sock", 0,
     URL_MAX, FIXED, NULL,
     "unix:///path[?db=N], redis://[[user]:password@]host[:port][/db] or "
     "redis+sentinel://[[user]:password@]host[:port],…/master[?db=N], by TLS with rediss; empty: "
     "no "
     "Redis."},
    {"redis", "password_file", OPTION_SECRET_FILE, FIELD(redis_password_file), "", 0,
     OPTION_FILE_MAX, FIXED, NULL, "File that holds the password for Redis."},
    {"redis", "ca_file", OPTION_SECRET_FILE, FIELD(redis_ca_file), "", 0, OPTION_FILE_MAX, FIXED,
     NULL,
     "PEM file with the authorities whose certificates Redis may have, with rediss://; empty: the "
     "system's."},
    {"redis", "cert_file", OPTION_SECRET_FILE, FIELD(redis_cert_file), "", 0, OPTION_FILE_MAX,
     FIXED, NULL,
     "PEM file with the daemon's certificate for a Redis that asks for one, and those between it "
     "and its authority; empty: none."},
    {"redis", "key_file", OPTION_SECRET_FILE, FIELD(redis_key_file), "", 0, OPTION_FILE_MAX, FIXED,
     NULL, "PEM file with the private key of cert_file, without a passphrase."},
    {"redis", "server_name", OPTION_HOST, FIELD(redis_server_name), "", 0, HOST_MAX, FIXED, NULL,
     "The name or address that Redis's certificate has to be for; empty: the host in url."},
    {"redis", "sentinel_user", OPTION_PREFIX, FIELD(redis_sentinel_user), "", 0, TEXT_MAX, FIXED,
     NULL, "User to log in to the sentinels as; empty: the default user."},
    {"redis", "sentinel_password_file", OPTION_SECRET_FILE, FIELD(redis_sentinel_password_file), "",
     0, OPTION_FILE_MAX, FIXED, NULL,
     "File that holds the password for the sentinels; empty: they ask for none."},
    {"redis", "secret_file", OPTION_SECRET_FILE, FIELD(redis_secret_file), "", 0, OPTION_FILE_MAX,
     FIXED, NULL, "File, the same on every host, with the secret that signs values in Redis."},
    {"redis", "prefix", OPTION_PREFIX, FIELD(redis_prefix), "apikeyd:", 0, PREFIX_MAX, FIXED, NULL,
     "Prefix of every Redis key of the daemon."},
    {"redis", "timeout", OPTION_DURATION, FIELD(redis_timeout), "20ms", MILLISECONDS(1),
     SECONDS(10), RELOADABLE, NULL, "How long a lookup waits for Redis before it goes on without."},

    {"feed", "source", OPTION_CHOICE, FIELD(feed_source), "postgres", 0, 0, FIXED, feed_sources,
     "How the daemon hears of changes: postgres, by a LISTEN session of its own; redis, from "
     "relays "
     "through the Redis of redis.url, without such a session; both: either is enough."},
    {"feed", "relay", OPTION_BOOL, FIELD(feed_relay), "no", 0, 0, FIXED, NULL,
     "Write what the LISTEN session hears to Redis, for daemons with source = redis or both; two "
     "or "
     "three relays do for any number of those."},

    {"postgres", "dsn", OPTION_DSN, FIELD(postgres_dsn), "", 0, DSN_MAX, FIXED, NULL,
     "libpq connection string or URI; PG* variables, pgpass and service files work."},
    {"postgres", "listen_dsn", OPTION_DSN, FIELD(postgres_listen_dsn), "", 0, DSN_MAX, FIXED, NULL,
     "For the LISTEN connection, which cannot go through a pooler; empty: dsn."},
    {"postgres", "table", OPTION_TABLE, FIELD(postgres_table), "api.user_api_key", 1, TEXT_MAX,
     FIXED, NULL, "The table of keys."},
    {"postgres", "key_column", OPTION_COLUMN, FIELD(postgres_key_column), "key_id", 1,
     OPTION_NAME_MAX, RELOADABLE, NULL,
     "Its column with the key ID, or with the result of key_transform."},
    {"postgres", "key_column_fallback", OPTION_COLUMN, FIELD(postgres_key_column_fallback), "", 0,
     OPTION_NAME_MAX, RELOADABLE, NULL,
     "Column with the key ID itself, for rows whose key_column is NULL, while key_transform is on; "
     "empty: none."},
    {"postgres", "key_transform", OPTION_CHOICE, FIELD(postgres_key_transform), "none", 0, 0,
     RELOADABLE, transforms, "none, or hmac-sha256: the column holds the hex HMAC of the key ID."},
    {"postgres", "key_transform_secret_file", OPTION_SECRET_FILES,
     FIELD(postgres_key_transform_secret_file), "", 0, (int64_t)KEY_SECRETS_MAX *OPTION_FILE_MAX,
     RELOADABLE, NULL,
     "Up to four files, with commas in between, each with an HMAC secret of key_transform: the "
     "first is that of new keys, keys by the others are found too."},
    {"postgres", "id_column", OPTION_COLUMN, FIELD(postgres_id_column), "api_key_id", 1,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column with the ID of the row, which ALLOW tells; it must be unique."},
    {"postgres", "user_column", OPTION_COLUMN, FIELD(postgres_user_column), "user_id", 1,
     OPTION_NAME_MAX, FIXED, NULL, "Column with the ID of the key's owner, of the same type."},
    {"postgres", "id_type", OPTION_CHOICE, FIELD(postgres_id_type), "uuid", 0, 0, FIXED, id_types,
     "Type of both IDs: uuid, bigint, or text of at most 36 bytes."},
    {"postgres", "active_column", OPTION_COLUMN, FIELD(postgres_active_column), "is_active", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column of type boolean that is true for a key that may pass; empty: every key may."},
    {"postgres", "last_used_column", OPTION_COLUMN, FIELD(postgres_last_used_column), "last_used",
     1, OPTION_NAME_MAX, FIXED, NULL,
     "Column with the time of the last use, which the daemon sets."},
    {"postgres", "updated_column", OPTION_COLUMN, FIELD(postgres_updated_column), "updated_at", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column with the time of the last change (see usage.touch_updated_at); empty: none."},
    {"postgres", "created_column", OPTION_COLUMN, FIELD(postgres_created_column), "created_at", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column that tells the oldest of several rows with one key; empty: that is the row with the "
     "smallest ID."},
    {"postgres", "not_before_column", OPTION_COLUMN, FIELD(postgres_not_before_column), "", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column with the time from which a key may pass; NULL there: from ever; empty: none."},
    {"postgres", "expires_column", OPTION_COLUMN, FIELD(postgres_expires_column), "", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column with the time from which a key may pass no more; NULL there: never; empty: none."},
    {"postgres", "attribute_columns", OPTION_ATTRIBUTES, FIELD(postgres_attribute_columns), "", 0,
     0, FIXED, NULL,
     "Columns, with commas in between, whose values ALLOW tells where that is asked for: text, "
     "text[], enums, booleans, numbers, uuid, or scalars of json; at most 16, of 255 bytes each "
     "and "
     "1024 together; empty: none."},
    {"postgres", "quota_column", OPTION_COLUMN, FIELD(postgres_quota_column), "", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column of an integer type that tells how often a key may be used in a calendar month (UTC); "
     "NULL there: as often as it likes; usage.counts is needed with it; empty: none."},
    {"postgres", "successor_of_column", OPTION_COLUMN, FIELD(postgres_successor_of_column), "", 0,
     OPTION_NAME_MAX, FIXED, NULL,
     "Column with the ID of the row whose key this one takes the place of, for apikeyctl keys "
     "rotate; empty: none."},
    {"postgres", "name_column", OPTION_COLUMN, FIELD(postgres_name_column), "key_name", 0,
     OPTION_NAME_MAX, FIXED, NULL, "Column with the key's name, for apikeyctl keys; empty: none."},
    {"postgres", "timestamp_zone", OPTION_ZONE, FIELD(postgres_timestamp_zone), "UTC", 1, TEXT_MAX,
     FIXED, NULL,
     "Time zone of the times in columns of type timestamp without time zone, as in Asia/Seoul."},
    {"postgres", "usage_table", OPTION_TABLE, FIELD(postgres_usage_table), "api.user_api_key_usage",
     1, TEXT_MAX, FIXED, NULL, "The table of counts (see usage.counts)."},
    {"postgres", "ledger_table", OPTION_TABLE, FIELD(postgres_ledger_table), "api.apikeyd_ledger",
     1, TEXT_MAX, FIXED, NULL, "The table that tells which counts have been added already."},
    {"postgres", "connections", OPTION_COUNT, FIELD(postgres_connections), "2", 1, 64, FIXED, NULL,
     "Connections for lookups; usage, the change feed, and counts have one more each."},
    {"postgres", "connects_per_second", OPTION_COUNT, FIELD(postgres_connects_per_second), "20", 1,
     RATE_LIMIT_MAX, RELOADABLE, NULL,
     "Maximum number of attempts to connect in any second, over all sessions of the daemon."},
    {"postgres", "max_age", OPTION_DURATION, FIELD(postgres_max_age), "1h", 0,
     HOURS(INT64_C(24) * 366), RELOADABLE, NULL,
     "Maximum age of a session: another one takes its place before that; 0s: no maximum."},
    {"postgres", "batch", OPTION_COUNT, FIELD(postgres_batch), "1000", 1, 10000, RELOADABLE, NULL,
     "Maximum number of keys in one lookup query."},
    {"postgres", "timeout", OPTION_DURATION, FIELD(postgres_timeout), "500ms", MILLISECONDS(10),
     SECONDS(60), RELOADABLE, NULL, "How long a lookup waits for PostgreSQL."},
    {"postgres", "soft_timeout", OPTION_DURATION, FIELD(postgres_soft_timeout), "50ms",
     MILLISECONDS(1), SECONDS(60), RELOADABLE, NULL,
     "How long a check waits while a stale verdict is in hand (see cache.stale_max).",
     .old_name = "patience"},
    {"postgres", "max_pending", OPTION_COUNT, FIELD(postgres_max_pending), "10000", 100, 1000000,
     FIXED, NULL,
     "Maximum number of lookups in flight; a miss beyond it gets UNAVAILABLE at once."},

    {"usage", "ledger", OPTION_FILE, FIELD(usage_ledger), "/run/apikeyd/usage.ledger", 1,
     OPTION_FILE_MAX, FIXED, NULL,
     "File on tmpfs for usage not yet written; it must outlive the daemon."},
    {"usage", "spill", OPTION_FILE, FIELD(usage_spill), "/var/lib/apikeyd/usage.spill", 1,
     OPTION_FILE_MAX, FIXED, NULL, "File on disk for usage that PostgreSQL does not take yet."},
    {"usage", "flush_interval", OPTION_DURATION, FIELD(usage_flush_interval), "5s",
     MILLISECONDS(50), HOURS(1), RELOADABLE, NULL, "How often last_used is written."},
    {"usage", "flush_rows", OPTION_COUNT, FIELD(usage_flush_rows), "10000", 1, 16000000, RELOADABLE,
     NULL, "Number of waiting keys that starts a flush early."},
    {"usage", "batch", OPTION_COUNT, FIELD(usage_batch), "1000", 1, 10000, RELOADABLE, NULL,
     "Maximum number of rows in one UPDATE."},
    {"usage", "touch_updated_at", OPTION_BOOL, FIELD(usage_touch_updated_at), "yes", 0, 0,
     RELOADABLE, NULL, "Whether an UPDATE of last_used also sets updated_at."},
    {"usage", "resolution", OPTION_DURATION, FIELD(usage_resolution), "0s", 0,
     HOURS(INT64_C(24) * 366), RELOADABLE, NULL,
     "Rows whose last_used is newer than this are not written again."},
    {"usage", "counts", OPTION_CHOICE, FIELD(usage_counts), "off", 0, 0, FIXED, counts,
     "off, or hour or day: how often each key was allowed or refused in each hour or day (UTC) is "
     "added to postgres.usage_table, each use once."},
    {"usage", "deleted_keys", OPTION_CHOICE, FIELD(usage_deleted_keys), "keep", 0, 0, FIXED,
     deleted_keys,
     "Counts of a key that is deleted: keep, or drop, by a foreign key that apikeyctl schema sql "
     "makes."},
    {"usage", "retention", OPTION_DURATION, FIELD(usage_retention), "0s", 0,
     HOURS(INT64_C(24) * 36600), FIXED, NULL,
     "How long counts are kept (400d), by partitions of a month that apikeyctl usage maintain "
     "makes "
     "and drops; 0s: for ever, in one table."},

    {"http", "key_from", OPTION_SOURCES, FIELD(http_key_from), "header:X-API-Key", 0, 0, RELOADABLE,
     http_sources,
     "Where a request has its key ID, with commas in between: header:NAME, bearer, basic-user, "
     "query:NAME, query:NAME@HEADER, cookie:NAME; two different keys are refused.",
     .old_name = "key_header", .old_prefix = "header:"},
    {"http", "inactive_status", OPTION_CHOICE, FIELD(http_inactive_status), "403", 0, 0, RELOADABLE,
     inactive_statuses,
     "Status for a key that is inactive, has expired or is early: 403, or 401 as for an unknown "
     "one."},
    {"http", "preflight", OPTION_CHOICE, FIELD(http_preflight), "deny", 0, 0, RELOADABLE,
     preflights,
     "deny, or allow: a CORS preflight (OPTIONS with Origin and Access-Control-Request-Method) "
     "without a key gets 200 without a user."},
    {"http", "timeout", OPTION_DURATION, FIELD(http_timeout), "10s", MILLISECONDS(100),
     SECONDS(3600), RELOADABLE, NULL,
     "How long an HTTP client may take to send a request, or to read the answer."},

    {"aws", "key_from", OPTION_SOURCES, FIELD(aws_key_from),
     "api_key, api_key_id, header, authorization", 0, 0, RELOADABLE, aws_sources,
     "Where a Lambda authorizer event has its key ID; the first that is there counts: api_key, "
     "api_key_id, header (those of http.key_from), header:NAME, query:NAME, identity_source, "
     "authorization."},
    {"aws", "usage_identifier_key", OPTION_CHOICE, FIELD(aws_usage_identifier_key), "none", 0, 0,
     RELOADABLE, usage_keys,
     "What usageIdentifierKey of a policy holds: none, the event's key, or the row's api_key_id or "
     "user_id."},

    {"log", "level", OPTION_CHOICE, FIELD(log_level), "info", 0, 0, RELOADABLE, levels,
     "error, warning, info or debug."},
    {"log", "target", OPTION_CHOICE, FIELD(log_target), "auto", 0, 0, FIXED, targets,
     "journal, stderr, or auto: the journal when stderr leads there; JSON goes to stdout."},
    {"log", "format", OPTION_CHOICE, FIELD(log_format), "text", 0, 0, FIXED, formats,
     "text, or json: each line is an object with time, level and place; not for the journal."},
    {"log", "denials", OPTION_CHOICE, FIELD(log_denials), "summary", 0, 0, RELOADABLE, denials,
     "Refusals in the log, at level info: summary, their numbers once a minute; sampled or all, "
     "also "
     "a line for each, up to 10 or 200 a second; or off."},
};

const size_t option_count = sizeof option_table / sizeof option_table[0];
