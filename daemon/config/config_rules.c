/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/config_rules.h>

#include <limits.h>
#include <string.h>

#include <apikeyd/base/address.h>
#include <apikeyd/base/log.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/redis_url.h>

static void check_secrets(struct config_draft *draft)
{
    const struct config *config = draft->config;
    struct redis_url url;

    if (config->postgres_key_transform != KEY_TRANSFORM_NONE &&
        !config->postgres_key_transform_secret_file[0] &&
        config_draft_sound(draft, "postgres.key_transform_secret_file"))
        config_draft_fail(draft, "postgres.key_transform",
                          "postgres.key_transform_secret_file is needed with it");
    if (config->postgres_key_column_fallback[0] &&
        config->postgres_key_transform == KEY_TRANSFORM_NONE &&
        config_draft_sound(draft, "postgres.key_transform"))
        config_draft_fail(draft, "postgres.key_column_fallback",
                          "postgres.key_transform is needed with it: without one, key_column holds "
                          "the key ID itself");
    if (config->postgres_key_column_fallback[0] &&
        strcmp(config->postgres_key_column_fallback, config->postgres_key_column) == 0)
        config_draft_fail(draft, "postgres.key_column_fallback",
                          "postgres.key_column is the same; another column is needed");
    if (config->redis_password_file[0] && redis_url_parse(config->redis_url, &url) &&
        url.password[0])
        config_draft_fail(draft, "redis.password_file",
                          "redis.url holds a password already; one of them has to go");
}

/* An option without effect would be taken for protection. */
static void check_redis_url(struct config_draft *draft)
{
    static const char no_tls[] = "redis.url does not ask for TLS; its scheme has to be rediss://";
    static const char no_sentinel[] =
        "redis.url names no sentinels; its scheme has to be redis+sentinel://";
    const struct config *config = draft->config;
    struct redis_url url;
    bool known = redis_url_parse(config->redis_url, &url);
    const struct {
        const char *name, *value;
        bool fits;
        const char *expected;
    } options[] = {
        {"redis.ca_file", config->redis_ca_file, known && url.tls, no_tls},
        {"redis.cert_file", config->redis_cert_file, known && url.tls, no_tls},
        {"redis.key_file", config->redis_key_file, known && url.tls, no_tls},
        {"redis.server_name", config->redis_server_name, known && url.tls, no_tls},
        {"redis.sentinel_user", config->redis_sentinel_user, known && url.master[0], no_sentinel},
        {"redis.sentinel_password_file", config->redis_sentinel_password_file,
         known && url.master[0], no_sentinel},
    };

    for (size_t i = 0; known && i < sizeof options / sizeof options[0]; i++) {
        if (options[i].value[0] && !options[i].fits)
            config_draft_fail(draft, options[i].name, "%s", options[i].expected);
    }
    if (config->redis_cert_file[0] && !config->redis_key_file[0])
        config_draft_fail(draft, "redis.cert_file", "redis.key_file is needed with it");
    if (config->redis_key_file[0] && !config->redis_cert_file[0])
        config_draft_fail(draft, "redis.key_file", "redis.cert_file is needed with it");
    if (config->redis_sentinel_user[0] && !config->redis_sentinel_password_file[0])
        config_draft_fail(draft, "redis.sentinel_user",
                          "redis.sentinel_password_file is needed with it");
}

static void check_feed(struct config_draft *draft)
{
    const struct config *config = draft->config;

    if (config->feed_source != FEED_SOURCE_POSTGRES && !config->redis_url[0])
        config_draft_fail(draft, "feed.source",
                          "redis.url is needed with it: relays write changes to that Redis");
    if (config->feed_relay && !config->redis_url[0])
        config_draft_fail(draft, "feed.relay",
                          "redis.url is needed with it: sidecars read changes from that Redis");
    if (config->feed_relay && config->feed_source == FEED_SOURCE_REDIS)
        config_draft_fail(draft, "feed.relay",
                          "a relay passes on what its LISTEN session hears; feed.source has to be "
                          "postgres or both");
}

static void check_log(struct config_draft *draft)
{
    const struct config *config = draft->config;

    if (config->log_format == LOG_FORMAT_JSON && config->log_target == LOG_TARGET_JOURNAL)
        config_draft_fail(
            draft, "log.format",
            "the journal (log.target) takes fields, which it gets with text; for JSON "
            "set log.target to auto or stderr");
}

/* Several slashes and "/./" are one slash (path_resolution(7)). */
static void normalize_path(const char *path, char ret[PATH_MAX])
{
    size_t len = 0;

    for (const char *at = path; *at && len + 1 < PATH_MAX; at++) {
        if (at[0] == '/' && at[1] == '/')
            continue;
        if (at[0] == '/' && at[1] == '.' && at[2] == '/') {
            at++;
            continue;
        }
        ret[len++] = *at;
    }
    ret[len] = '\0';
}

static bool same_place(const char *a, const char *b)
{
    struct sockaddr_storage a_address, b_address;
    socklen_t a_len, b_len;
    char a_path[PATH_MAX], b_path[PATH_MAX];

    if (address_parse(a, &a_address, &a_len) && address_parse(b, &b_address, &b_len))
        return a_len == b_len && memcmp(&a_address, &b_address, a_len) == 0;
    normalize_path(a, a_path);
    normalize_path(b, b_path);
    return strcmp(a_path, b_path) == 0;
}

/* Each socket and each file is made by the daemon or read by it: no two can be one. */
static void check_places(struct config_draft *draft)
{
    const struct config *config = draft->config;
    struct redis_url url = {0};
    char secret[KEY_SECRETS_MAX][SECRET_FILE_SIZE] = {0};
    const struct {
        const char *name, *value;
    } places[] = {
        {"listen.check", config->listen_check},
        {"listen.admin", config->listen_admin},
        {"listen.http", config->listen_http},
        {"listen.metrics", config->listen_metrics},
        {"usage.ledger", config->usage_ledger},
        {"usage.spill", config->usage_spill},
        {"redis.url", url.path},
        {"redis.password_file", config->redis_password_file},
        {"redis.ca_file", config->redis_ca_file},
        {"redis.cert_file", config->redis_cert_file},
        {"redis.key_file", config->redis_key_file},
        {"redis.sentinel_password_file", config->redis_sentinel_password_file},
        {"redis.secret_file", config->redis_secret_file},
        {"postgres.key_transform_secret_file", secret[0]},
        {"postgres.key_transform_secret_file", secret[1]},
        {"postgres.key_transform_secret_file", secret[2]},
        {"postgres.key_transform_secret_file", secret[3]},
    };
    enum { PLACES = sizeof places / sizeof places[0], OWN = 6 };

    (void)redis_url_parse(config->redis_url, &url);
    (void)secret_files_split(config->postgres_key_transform_secret_file, secret);
    /* One secret may serve twice. */
    for (size_t i = 1; i < PLACES; i++) {
        for (size_t k = 0; k < i && k < OWN; k++) {
            struct buffer other = {0};

            if (!places[i].value[0] || !config_draft_sound(draft, places[k].name) ||
                !same_place(places[i].value, places[k].value))
                continue;
            config_draft_place(draft, places[k].name, &other);
            buffer_append(&other, "", 1);
            config_draft_fail(draft, places[i].name, "%s (%s) is the same; give each its own",
                              places[k].name, other.data);
            buffer_free(&other);
        }
    }
}

/* Times are written into two columns, and IDs into a third, which must hold nothing else. */
static void check_columns(struct config_draft *draft)
{
    const struct config *config = draft->config;
    static const char times[] = "the daemon writes times into this one";
    const struct {
        const char *name, *value, *written;
    } columns[] = {
        {"postgres.last_used_column", config->postgres_last_used_column, times},
        {"postgres.updated_column", config->postgres_updated_column, times},
        {"postgres.successor_of_column", config->postgres_successor_of_column,
         "apikeyctl keys rotate writes IDs into this one"},
        {"postgres.key_column", config->postgres_key_column, NULL},
        {"postgres.key_column_fallback", config->postgres_key_column_fallback, NULL},
        {"postgres.id_column", config->postgres_id_column, NULL},
        {"postgres.user_column", config->postgres_user_column, NULL},
        {"postgres.active_column", config->postgres_active_column, NULL},
        {"postgres.created_column", config->postgres_created_column, NULL},
        {"postgres.not_before_column", config->postgres_not_before_column, NULL},
        {"postgres.expires_column", config->postgres_expires_column, NULL},
        {"postgres.quota_column", config->postgres_quota_column, NULL},
        {"postgres.name_column", config->postgres_name_column, NULL},
    };
    enum { COLUMNS = sizeof columns / sizeof columns[0] };

    for (size_t i = 0; i < COLUMNS && columns[i].written; i++) {
        for (size_t k = i + 1; k < COLUMNS; k++) {
            if (columns[i].value[0] && strcmp(columns[i].value, columns[k].value) == 0)
                config_draft_fail(draft, columns[i].name, "%s is the same column, and %s",
                                  columns[k].name, columns[i].written);
        }
    }
    if (config_has_windows(config) &&
        strcmp(config->postgres_not_before_column, config->postgres_expires_column) == 0)
        config_draft_fail(draft, "postgres.expires_column",
                          "postgres.not_before_column is the same: no key could pass");
}

/* What a key was used is what the table of counts says. */
static void check_quota(struct config_draft *draft)
{
    if (config_has_quotas(draft->config) && draft->config->usage_counts == USAGE_COUNTS_OFF &&
        config_draft_sound(draft, "usage.counts"))
        config_draft_fail(draft, "postgres.quota_column",
                          "usage.counts = hour or day is needed with it: uses that are not counted "
                          "have no sum");
}

/* The three tables have other columns each. */
static void check_tables(struct config_draft *draft)
{
    const struct config *config = draft->config;
    const struct {
        const char *name, *value;
    } tables[] = {
        {"postgres.table", config->postgres_table},
        {"postgres.usage_table", config->postgres_usage_table},
        {"postgres.ledger_table", config->postgres_ledger_table},
    };
    enum { TABLES = sizeof tables / sizeof tables[0] };

    for (size_t i = 1; config->usage_counts != USAGE_COUNTS_OFF && i < TABLES; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(tables[i].value, tables[k].value) == 0)
                config_draft_fail(draft, tables[i].name, "%s is the same; give each its own",
                                  tables[k].name);
        }
    }
}

/* What travels with a verdict is told to gateways, and kept for a ttl. */
static void check_attributes(struct config_draft *draft)
{
    const struct config *config = draft->config;
    const struct {
        const char *name, *value, *why;
    } columns[] = {
        {"postgres.key_column", config->postgres_key_column, "a key, or its hash, is not told"},
        {"postgres.key_column_fallback", config->postgres_key_column_fallback, "a key is not told"},
        {"postgres.last_used_column", config->postgres_last_used_column,
         "the daemon writes times into it"},
        {"postgres.updated_column", config->postgres_updated_column,
         "the daemon writes times into it"},
    };

    for (size_t i = 0; i < config->postgres_attribute_columns.len; i++) {
        const char *attribute = config->postgres_attribute_columns.column[i].name;

        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++) {
            if (strcmp(attribute, columns[k].value) == 0)
                config_draft_fail(draft, "postgres.attribute_columns",
                                  "%s is %s, and %s; take it off the list", attribute,
                                  columns[k].name, columns[k].why);
        }
    }
}

/* A session that is replaced all the time is of no use. Partitions are of a month. */
static void check_ages(struct config_draft *draft)
{
    static const int64_t day_us = INT64_C(86400) * 1000000;

    if (draft->config->usage_retention > 0 && draft->config->usage_retention < day_us)
        config_draft_fail(draft, "usage.retention", "at least 1d is needed, or 0s for ever");
    if (draft->config->postgres_max_age > 0 && draft->config->postgres_max_age < 1000000)
        config_draft_fail(draft, "postgres.max_age", "at least 1s is needed, or 0s for no maximum");
}

void config_rules_check(struct config_draft *draft)
{
    check_ages(draft);
    check_columns(draft);
    check_tables(draft);
    check_attributes(draft);
    check_quota(draft);
    check_secrets(draft);
    check_redis_url(draft);
    check_feed(draft);
    check_places(draft);
    check_log(draft);
}
