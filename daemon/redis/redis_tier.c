/* SPDX-License-Identifier: MIT */
#include <apikeyd/redis/redis_tier.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/config/option.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/wire/redis_value.h>
#include <apikeyd/wire/resp_reply.h>

#include "redis_link.h"

enum {
    COLUMNS_SIZE = OPTION_NAME_MAX + sizeof "/+0123456789abcdef:",
    KEY_SIZE = 128 + 3 + STORE_KEY_SIZE + COLUMNS_SIZE + DIGEST_HEX_SIZE,
};

/* One MGET under way. A command cannot be taken back, so a late one is only marked; its reply, or
 * the connection's end, frees it. */
struct mget {
    struct redis_tier *tier;
    struct redis_read read;
    size_t len;
    bool late;
    int64_t sent_us;
    struct store_id store; /* the store of these keys */
    unsigned key_scheme;   /* of these digests */
    struct event timer;
    struct digest digests[];
};

struct redis_tier {
    struct back_env *env;
    struct redis_link *link; /* NULL: off */
    struct buffer request;   /* the one that is being made */
    char columns[COLUMNS_SIZE];
};

const char *redis_finding_name(enum redis_finding finding)
{
    static const char *const name[] = {
        [FOUND_OFF] = "off",        [FOUND_DOWN] = "down",           [FOUND_LATE] = "late",
        [FOUND_NOTHING] = "absent", [FOUND_TOMBSTONE] = "tombstone", [FOUND_FORGED] = "forged",
        [FOUND_BROKEN] = "broken",  [FOUND_UNDATED] = "undated",     [FOUND_VERDICT] = "verdict",
    };

    return name[finding];
}

/* FNV-1a, 64 bits, with the text's NUL. */
static uint64_t add_text(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++);
    return hash;
}

/* "/<key column>:", and a hash before the colon unless a key has one digest, and the other options
 * that say what a verdict tells have their defaults. Daemons that read other columns share no
 * verdicts, nor do those in different steps of a migration to hashed keys: one finds a row by a
 * fallback or a secret that the other does not have. */
static void name_columns(const struct config *config, const struct key_hasher *hasher,
                         char ret[static COLUMNS_SIZE])
{
    const struct {
        const char *option, *value;
    } columns[] = {
        {"id_column", config->postgres_id_column},
        {"user_column", config->postgres_user_column},
        {"active_column", config->postgres_active_column},
        {"created_column", config->postgres_created_column},
        {"id_type", id_type_name((enum id_type)config->postgres_id_type)},
    };
    uint64_t hash = UINT64_C(14695981039346656037);
    bool defaults = true;

    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        const struct option *option = option_find("postgres", columns[i].option);

        defaults = defaults && strcmp(columns[i].value, option->value) == 0;
        hash = add_text(hash, columns[i].value);
    }
    if (config_has_windows(config)) {
        hash = add_text(add_text(hash, config->postgres_not_before_column),
                        config->postgres_expires_column);
        hash = add_text(hash, config->postgres_timestamp_zone);
        defaults = false;
    }
    if (config_has_attributes(config)) {
        hash = add_text(hash, "attribute_columns");
        for (size_t i = 0; i < config->postgres_attribute_columns.len; i++)
            hash = add_text(hash, config->postgres_attribute_columns.column[i].name);
        if (config_has_quotas(config))
            hash = add_text(add_text(hash, "quota_column"), config->postgres_quota_column);
        defaults = false;
    }
    if (key_hasher_digest_count(hasher) > 1) {
        char mark[DIGEST_HEX_SIZE];
        struct digest digest;

        key_hasher_mark(hasher, &digest);
        digest_to_hex(&digest, mark);
        hash = add_text(add_text(hash, mark), config->postgres_key_column_fallback);
        defaults = false;
    }
    if (defaults)
        snprintf(ret, COLUMNS_SIZE, "/%s:", config->postgres_key_column);
    else
        snprintf(ret, COLUMNS_SIZE, "/%s+%016" PRIx64 ":", config->postgres_key_column, hash);
}

void redis_tier_configure(struct redis_tier *tier)
{
    name_columns(tier->env->config, tier->env->hasher, tier->columns);
}

/* <prefix>1:<store>/<columns>:<digest>. The tag covers this name, so a verdict holds for one column
 * of one store only: the value of one column may be a key by another, or the hash of one. */
static struct slice make_key(const struct redis_tier *tier, const struct store_id *store,
                             const struct digest *digest, char ret[static KEY_SIZE])
{
    char *hex = stpcpy(stpcpy(ret, tier->env->config->redis_prefix), "1:");

    store_id_to_key(store, hex);
    hex = stpcpy(hex + strlen(hex), tier->columns);
    digest_to_hex(digest, hex);
    return (struct slice){ret, (size_t)(hex - ret) + DIGEST_HEX_SIZE - 1};
}

struct redis_tier *redis_tier_new(struct back_env *env)
{
    static const struct redis_link_role role = {
        .name = "redis", .without = "lookups go on without it", .gauged = true};
    struct redis_tier *tier = calloc(1, sizeof *tier);

    if (!tier)
        return NULL;
    tier->env = env;
    redis_tier_configure(tier);
    if (!env->config->redis_url[0])
        return tier;
    tier->link = redis_link_new(env, &role);
    if (!tier->link) {
        free(tier);
        return NULL;
    }
    return tier;
}

void redis_tier_close(struct redis_tier *tier)
{
    redis_link_free(tier->link);
    tier->link = NULL;
}

void redis_tier_free(struct redis_tier *tier)
{
    if (!tier)
        return;
    redis_tier_close(tier);
    buffer_free(&tier->request);
    free(tier);
}

/* Redis is not used while the link is down, nor before the store is known. */
static bool may(const struct redis_tier *tier, enum redis_use use)
{
    return tier->link && tier->env->stores.has_current && redis_link_may(tier->link, use);
}

bool redis_tier_usable(const struct redis_tier *tier)
{
    return may(tier, REDIS_READ);
}

/* Send the request that was made; `done` is not called when it returns false. */
static bool send_request(struct redis_tier *tier,
                         void (*done)(void *arg, const struct redis_reply *reply), void *arg)
{
    struct slice request = buffer_held(&tier->request);
    bool sent = redis_link_send(tier->link, request, done, arg);

    buffer_consume(&tier->request, request.len);
    return sent;
}

static enum redis_value_format format_of(const struct redis_tier *tier)
{
    if (config_has_attributes(tier->env->config))
        return REDIS_VALUE_WITH_ATTRIBUTES;
    return config_has_windows(tier->env->config) ? REDIS_VALUE_WITH_WINDOW : REDIS_VALUE_PLAIN;
}

/* Judge a value; sets *ret for FOUND_VERDICT and FOUND_TOMBSTONE. */
static enum redis_finding judge(struct redis_tier *tier, struct slice key, struct slice value,
                                int64_t now_us, struct verdict *ret)
{
    const struct config *config = tier->env->config;
    struct redis_value_form form = {format_of(tier), (enum id_type)config->postgres_id_type,
                                    (unsigned)config->postgres_attribute_columns.len,
                                    config_has_quotas(config)};
    int64_t server_read_us = 0;
    struct verdict verdict;

    switch (
        redis_value_decode(key, value, tier->env->redis_secret, form, &verdict, &server_read_us)) {
    case REDIS_VALUE_TOMBSTONE:
        *ret = (struct verdict){
            .kind = VERDICT_UNAVAILABLE,
            .read_at_us = pg_clock_latest_monotonic(&tier->env->clock, server_read_us, now_us)};
        return FOUND_TOMBSTONE;
    case REDIS_VALUE_FORGED:
        tier->env->metrics.value[METRIC_REDIS_FORGED]++;
        return FOUND_FORGED;
    case REDIS_VALUE_BROKEN:
        tier->env->metrics.value[METRIC_REDIS_BROKEN]++;
        return FOUND_BROKEN;
    case REDIS_VALUE_VERDICT:
        break;
    }
    if (!pg_clock_to_monotonic(&tier->env->clock, server_read_us, now_us, &verdict.read_at_us))
        return FOUND_UNDATED;
    *ret = verdict;
    return FOUND_VERDICT;
}

/* Give the caller the same finding for every key. */
static void deliver_none(const struct redis_read *read, size_t len, enum redis_finding finding)
{
    read->begin(read->arg);
    for (size_t i = 0; i < len; i++)
        read->each(read->arg, finding, NULL);
    read->done(read->arg);
}

/* Give the caller the finding for every key in the reply. */
static void deliver(struct redis_tier *tier, const struct mget *mget,
                    const struct redis_reply *reply)
{
    const struct redis_read *read = &mget->read;
    int64_t now_us = clock_monotonic_us();

    if (!store_id_equal(&mget->store, &tier->env->stores.current) ||
        mget->key_scheme != tier->env->key_scheme) {
        deliver_none(read, mget->len, FOUND_NOTHING);
        return;
    }
    read->begin(read->arg);
    for (size_t i = 0; i < mget->len; i++) {
        const struct redis_reply *element = &reply->element[i];
        enum redis_finding finding = FOUND_NOTHING;
        struct verdict verdict = {0};
        char key[KEY_SIZE];

        if (element->kind == REPLY_STRING)
            finding = judge(tier, make_key(tier, &mget->store, &mget->digests[i], key),
                            element->text, now_us, &verdict);
        bool found = finding == FOUND_VERDICT || finding == FOUND_TOMBSTONE;
        read->each(read->arg, finding, found ? &verdict : NULL);
    }
    read->done(read->arg);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    struct mget *mget = arg;
    struct redis_tier *tier = mget->tier;

    (void)fd;
    (void)what;
    mget->late = true;
    tier->env->metrics.value[METRIC_REDIS_TIMEOUTS]++;
    deliver_none(&mget->read, mget->len, FOUND_LATE);
    /* May free the mget: it comes last. */
    redis_link_failed(tier->link, REDIS_READ, "replies are late by redis.timeout");
}

static void on_reply(void *arg, const struct redis_reply *reply)
{
    struct mget *mget = arg;
    struct redis_tier *tier = mget->tier;
    bool fine = reply && reply->kind == REPLY_ARRAY && reply->len == mget->len;

    event_del(&mget->timer);
    if (fine && !mget->late)
        redis_link_worked(tier->link, REDIS_READ);
    if (fine)
        histogram_record(&tier->env->metrics.histogram[HISTOGRAM_REDIS_TIME],
                         clock_monotonic_us() - mget->sent_us, 1);
    if (!mget->late && fine)
        deliver(tier, mget, reply);
    else if (!mget->late)
        deliver_none(&mget->read, mget->len, FOUND_LATE);
    free(mget);
    if (reply && reply->kind == REPLY_ERROR)
        redis_link_refused(tier->link, REDIS_READ, reply);
    else if (reply && !fine)
        redis_link_failed(tier->link, REDIS_READ, "its replies to MGET are no arrays of values");
}

/* Send MGET for the keys. False when the link does not take it. */
static bool send_mget(struct redis_tier *tier, struct mget *mget)
{
    char key[KEY_SIZE];

    resp_array(&tier->request, mget->len + 1);
    resp_text(&tier->request, "MGET");
    for (size_t i = 0; i < mget->len; i++)
        resp_bulk(&tier->request, make_key(tier, &mget->store, &mget->digests[i], key));
    return send_request(tier, on_reply, mget);
}

size_t redis_tier_batch_max(const struct redis_tier *tier)
{
    bool attributes = config_has_attributes(tier->env->config);
    size_t value_max = attributes ? REDIS_VALUE_SIZE : REDIS_VALUE_PLAIN_SIZE;

    return REDIS_REPLY_MAX / (sizeof "$1234\r\n\r\n" + value_max);
}

void redis_tier_read(struct redis_tier *tier, const struct digest *digests, size_t len,
                     struct redis_read read)
{
    struct mget *mget;

    if (!may(tier, REDIS_READ)) {
        deliver_none(&read, len, tier->link ? FOUND_DOWN : FOUND_OFF);
        return;
    }
    mget = malloc(sizeof *mget + len * sizeof *digests);
    if (mget) {
        *mget = (struct mget){.tier = tier,
                              .read = read,
                              .len = len,
                              .sent_us = clock_monotonic_us(),
                              .store = tier->env->stores.current,
                              .key_scheme = tier->env->key_scheme};
        memcpy(mget->digests, digests, len * sizeof *digests);
    }
    if (!mget || !send_mget(tier, mget)) {
        free(mget);
        deliver_none(&read, len, FOUND_DOWN);
        return;
    }
    event_assign(&mget->timer, tier->env->base, -1, 0, on_late, mget);
    timer_start(&mget->timer, tier->env->config->redis_timeout);
    tier->env->metrics.value[METRIC_REDIS_ROUND_TRIPS]++;
    tier->env->metrics.value[METRIC_REDIS_KEYS] += len;
    histogram_record(&tier->env->metrics.histogram[HISTOGRAM_REDIS_BATCH], (int64_t)len, 1);
}

/* No caller waits for a write, but its errors (-OOM, -MISCONF and the like) count. No reply means
 * that the connection has gone, which was already counted. */
static bool written(struct redis_tier *tier, const struct redis_reply *reply)
{
    if (!reply)
        return false;
    if (reply->kind == REPLY_ERROR) {
        redis_link_refused(tier->link, REDIS_WRITE, reply);
        return false;
    }
    redis_link_worked(tier->link, REDIS_WRITE);
    return true;
}

static void on_filled(void *arg, const struct redis_reply *reply)
{
    struct redis_tier *tier = arg;

    /* Nil: something was there already, and NX left it. */
    if (written(tier, reply))
        tier->env->metrics.value[METRIC_REDIS_FILLS] += reply->kind == REPLY_STATUS;
}

static void on_tombstone(void *arg, const struct redis_reply *reply)
{
    struct redis_tier *tier = arg;

    if (written(tier, reply))
        tier->env->metrics.value[METRIC_REDIS_TOMBSTONES]++;
}

/* SET `key` `value` [NX] PX `life_us` */
static void send_set(struct redis_tier *tier, struct slice key, struct slice value, bool fill,
                     int64_t life_us)
{
    char life_ms[24];

    resp_array(&tier->request, fill ? 6 : 5);
    resp_text(&tier->request, "SET");
    resp_bulk(&tier->request, key);
    resp_bulk(&tier->request, value);
    if (fill)
        resp_text(&tier->request, "NX");
    resp_text(&tier->request, "PX");
    snprintf(life_ms, sizeof life_ms, "%" PRId64, life_us / 1000);
    resp_text(&tier->request, life_ms);
    if (!send_request(tier, fill ? on_filled : on_tombstone, tier))
        tier->env->metrics.value[METRIC_REDIS_DROPPED]++;
}

void redis_tier_fill(struct redis_tier *tier, const struct digest *digest,
                     const struct verdict *verdict, int64_t server_read_us, int64_t ttl_us)
{
    char key_text[KEY_SIZE];
    char value[REDIS_VALUE_SIZE];

    if (!may(tier, REDIS_WRITE) || !verdict_has_row(verdict))
        return;
    if (redis_link_half_full(tier->link)) { /* the room that is left is for tombstones and reads */
        tier->env->metrics.value[METRIC_REDIS_DROPPED]++;
        return;
    }
    struct slice key = make_key(tier, &tier->env->stores.current, digest, key_text);
    size_t len = redis_value_encode(key, format_of(tier), verdict, server_read_us,
                                    tier->env->redis_secret, value);
    if (len > 0)
        send_set(tier, key, (struct slice){value, len}, true, ttl_us);
}

void redis_tier_tombstone(struct redis_tier *tier, const struct digest *digest, int64_t ttl_us)
{
    char key_text[KEY_SIZE];
    char value[REDIS_VALUE_SIZE];

    if (!may(tier, REDIS_WRITE))
        return;
    struct slice key = make_key(tier, &tier->env->stores.current, digest, key_text);
    size_t len = redis_value_encode_tombstone(
        pg_clock_latest_reading(&tier->env->clock, clock_monotonic_us()), value);
    /* Redis counts by another clock than the sidecars that judge an age; that clock may run a
     * little fast. */
    send_set(tier, key, (struct slice){value, len}, false, ttl_us + ttl_us / 8);
}
