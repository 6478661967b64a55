/* config: the options, from one table.
 *
 * The table (option_table.c) holds each option's name, type, default, bounds, whether it may change
 * while the daemon runs, and its help. Parser, --check-config, CONFIG GET, the sample file and the
 * manual's list all come from it. A loaded config does not change: a reload makes a new one.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_H
#define APIKEYD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/attribute_columns.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/model/key_form.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/key_source.h>
#include <apikeyd/model/row_id.h>

enum { ID_LIST_MAX = 64 };

struct id_list {
    size_t len;
    uint32_t id[ID_LIST_MAX];
};

enum http_inactive_status { HTTP_INACTIVE_403, HTTP_INACTIVE_401 };
enum http_preflight { HTTP_PREFLIGHT_DENY, HTTP_PREFLIGHT_ALLOW };
enum aws_usage_key {
    AWS_USAGE_KEY_NONE,
    AWS_USAGE_KEY_KEY,
    AWS_USAGE_KEY_API_KEY_ID,
    AWS_USAGE_KEY_USER_ID
};

enum feed_source { FEED_SOURCE_POSTGRES, FEED_SOURCE_REDIS, FEED_SOURCE_BOTH };

enum usage_counts { USAGE_COUNTS_OFF, USAGE_COUNTS_HOUR, USAGE_COUNTS_DAY };
enum usage_deleted_keys { USAGE_DELETED_KEYS_KEEP, USAGE_DELETED_KEYS_DROP };

enum log_denials { LOG_DENIALS_SUMMARY, LOG_DENIALS_SAMPLED, LOG_DENIALS_ALL, LOG_DENIALS_OFF };

/* Durations are microseconds, sizes bytes. Text is never NULL; "" is not set. */
struct config {
    char *listen_check;
    uint64_t listen_check_mode;
    char *listen_check_group;
    char *listen_admin;
    char *listen_http;
    char *listen_metrics;
    uint64_t listen_max_connections;
    uint64_t listen_max_request;
    struct id_list listen_allow_uids;
    struct id_list listen_allow_gids;
    int64_t listen_drain_timeout;
    int64_t listen_linger;
    char *listen_cpu; /* "", "last" or a number */

    uint64_t cache_memory;
    uint64_t cache_negative_memory;
    uint64_t cache_attribute_memory;
    int64_t cache_ttl;
    int64_t cache_ttl_unlinked;
    int64_t cache_negative_ttl;
    int64_t cache_stale_max;

    uint64_t keys_form; /* enum key_form */
    struct key_prefixes keys_prefix;

    char *redis_url;
    char *redis_password_file;
    char *redis_ca_file;
    char *redis_cert_file;
    char *redis_key_file;
    char *redis_server_name;
    char *redis_sentinel_user;
    char *redis_sentinel_password_file;
    char *redis_secret_file;
    char *redis_prefix;
    int64_t redis_timeout;

    uint64_t feed_source; /* enum feed_source */
    bool feed_relay;

    char *postgres_dsn;
    char *postgres_listen_dsn;
    char *postgres_table;
    char *postgres_key_column;
    char *postgres_key_column_fallback;
    uint64_t postgres_key_transform;          /* enum key_transform */
    char *postgres_key_transform_secret_file; /* files with commas in between */
    char *postgres_id_column;
    char *postgres_user_column;
    uint64_t postgres_id_type; /* enum id_type */
    char *postgres_active_column;
    char *postgres_last_used_column;
    char *postgres_updated_column;
    char *postgres_created_column;
    char *postgres_not_before_column;
    char *postgres_expires_column;
    struct attribute_columns postgres_attribute_columns;
    char *postgres_quota_column;
    char *postgres_successor_of_column;
    char *postgres_name_column;
    char *postgres_timestamp_zone;
    char *postgres_usage_table;
    char *postgres_ledger_table;
    uint64_t postgres_connections;
    uint64_t postgres_connects_per_second;
    int64_t postgres_max_age;
    uint64_t postgres_batch;
    int64_t postgres_timeout;
    int64_t postgres_soft_timeout;
    uint64_t postgres_max_pending;

    char *usage_ledger;
    char *usage_spill;
    int64_t usage_flush_interval;
    uint64_t usage_flush_rows;
    uint64_t usage_batch;
    bool usage_touch_updated_at;
    int64_t usage_resolution;
    uint64_t usage_counts;       /* enum usage_counts */
    uint64_t usage_deleted_keys; /* enum usage_deleted_keys */
    int64_t usage_retention;     /* 0: for ever */

    struct key_sources http_key_from;
    uint64_t http_inactive_status; /* enum http_inactive_status */
    uint64_t http_preflight;       /* enum http_preflight */
    int64_t http_timeout;

    struct key_sources aws_key_from;
    uint64_t aws_usage_identifier_key; /* enum aws_usage_key */

    uint64_t log_level;   /* enum log_level */
    uint64_t log_target;  /* enum log_target */
    uint64_t log_format;  /* enum log_format */
    uint64_t log_denials; /* enum log_denials */
};

void config_free(struct config *config);

/* A deep copy; NULL when out of memory. */
struct config *config_copy(const struct config *config);

struct freshness_policy config_freshness_policy(const struct config *config);

/* Returns whether the table says when keys begin or end. */
bool config_has_windows(const struct config *config);

/* Returns whether the front thread has to know PostgreSQL's clock: for windows, or for the hours of
 * counts. */
bool config_needs_clock(const struct config *config);

/* Returns whether the table says how often keys may be used in a month. */
static inline bool config_has_quotas(const struct config *config)
{
    return config->postgres_quota_column[0] != '\0';
}

/* Returns whether keys may have attributes, or a quota, which travels with them. */
static inline bool config_has_attributes(const struct config *config)
{
    return config->postgres_attribute_columns.len > 0 || config_has_quotas(config);
}

/* Returns the maximum of lookups in flight: postgres.max_pending, and room for keys in memory. */
size_t config_pending_max(const struct config *config);

/* Returns the longest time that a check waits for the stores: for Redis, for a connection to
 * PostgreSQL, for its answer, and for the threads. The front thread enforces that by itself. */
int64_t config_wait_max_us(const struct config *config);

/* Take every option that cannot change at run time from `running`, so that `next` describes the
 * real effect of a reload. Appends the names of options that differ to `restart`, one a line. */
void config_keep_fixed(struct config *next, const struct config *running, struct buffer *restart);

/* Call `each` with "section.option" and its value as it would stand in the file, without passwords,
 * for every option whose name matches the shell pattern `glob`. If only the deprecated name
 * matches, `each` gets that name. */
void config_each(const struct config *config, const char *glob,
                 void (*each)(void *arg, const char *name, const char *value), void *arg);

/* Print the whole table as a commented sample file, and as a Markdown list. */
void config_print_sample(FILE *out);
void config_print_markdown(FILE *out);

/* Print the list of apikeyd.conf(5), in mdoc(7). */
void config_print_roff(FILE *out);

#endif
