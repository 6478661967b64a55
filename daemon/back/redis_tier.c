/* SPDX-License-Identifier: MIT */
#include "apikeyd/redis_tier.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/redis_link.h"
#include "apikeyd/redis_value.h"
#include "apikeyd/trust.h"

enum { KEY_SIZE = 128 + 3 + STORE_KEY_SIZE + DIGEST_HEX_SIZE };

/* One MGET under way. hiredis cannot take a command back, so a late one is only marked; its
 * reply, or the connection's end, frees it. */
struct mget {
    struct redis_tier *tier;
    struct redis_read read;
    size_t len;
    bool late;
    int64_t sent_us;
    struct store_id store; /* whose keys these are */
    struct event timer;
    struct digest digests[];
};

struct redis_tier {
    struct back_env *env;
    struct redis_link *link; /* NULL: off */
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

/* <prefix>1:<store>:<digest>. The tag covers it, so a verdict holds for one store only. */
static struct slice make_key(const struct redis_tier *tier, const struct store_id *store,
                             const struct digest *digest, char ret[static KEY_SIZE])
{
    char *hex = stpcpy(stpcpy(ret, tier->env->config->redis_prefix), "1:");

    store_id_to_key(store, hex);
    hex = stpcpy(hex + strlen(hex), ":");
    digest_to_hex(digest, hex);
    return (struct slice){ret, (size_t)(hex - ret) + DIGEST_HEX_SIZE - 1};
}

struct redis_tier *redis_tier_new(struct back_env *env)
{
    struct redis_tier *tier = calloc(1, sizeof *tier);

    if (!tier)
        return NULL;
    tier->env = env;
    if (!env->config->redis_url[0])
        return tier;
    tier->link = redis_link_new(env);
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
    if (tier)
        redis_tier_close(tier);
    free(tier);
}

/* NULL while it is not in use, and before it is known which store's verdicts are wanted. */
static redisAsyncContext *context_of(const struct redis_tier *tier)
{
    return tier->link && tier->env->stores.has_current ? redis_link_context(tier->link) : NULL;
}

bool redis_tier_usable(const struct redis_tier *tier)
{
    return context_of(tier) != NULL;
}

/* What a value is worth; sets *ret for FOUND_VERDICT and FOUND_TOMBSTONE. */
static enum redis_finding judge(struct redis_tier *tier, struct slice key, struct slice value,
                                int64_t now_us, struct verdict *ret)
{
    int64_t server_read_us = 0;
    struct verdict verdict;

    switch (redis_value_decode(key, value, tier->env->redis_secret, &verdict, &server_read_us)) {
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

/* Tell the caller the same about every key. */
static void deliver_none(const struct redis_read *read, size_t len, enum redis_finding finding)
{
    read->begin(read->arg);
    for (size_t i = 0; i < len; i++)
        read->each(read->arg, finding, NULL);
    read->done(read->arg);
}

/* Tell the caller what the reply says about every key. */
static void deliver(struct redis_tier *tier, const struct mget *mget, const redisReply *reply)
{
    const struct redis_read *read = &mget->read;
    int64_t now_us = clock_monotonic_us();

    if (!store_id_equal(&mget->store, &tier->env->stores.current)) {
        deliver_none(read, mget->len, FOUND_NOTHING);
        return;
    }
    read->begin(read->arg);
    for (size_t i = 0; i < mget->len; i++) {
        const redisReply *element = reply->element[i];
        enum redis_finding finding = FOUND_NOTHING;
        struct verdict verdict = {0};
        char key[KEY_SIZE];

        if (element->type == REDIS_REPLY_STRING)
            finding = judge(tier, make_key(tier, &mget->store, &mget->digests[i], key),
                            (struct slice){element->str, (size_t)element->len}, now_us, &verdict);
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
    redis_link_failed(tier->link, "answers are late");
}

static void on_reply(redisAsyncContext *context, void *data, void *arg)
{
    struct mget *mget = arg;
    struct redis_tier *tier = mget->tier;
    const redisReply *reply = data;
    bool fine = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == mget->len;

    (void)context;
    event_del(&mget->timer);
    if (fine && !mget->late)
        redis_link_worked(tier->link);
    if (fine)
        histogram_record(&tier->env->metrics.histogram[HISTOGRAM_REDIS_TIME],
                         clock_monotonic_us() - mget->sent_us, 1);
    if (!mget->late && fine)
        deliver(tier, mget, reply);
    else if (!mget->late)
        deliver_none(&mget->read, mget->len, FOUND_LATE);
    free(mget);
    if (!fine && reply) {
        tier->env->metrics.value[METRIC_REDIS_ERRORS]++;
        redis_link_failed(tier->link,
                          reply->type == REDIS_REPLY_ERROR ? reply->str : "odd replies");
    }
}

/* Send MGET for the keys; false when the command could not be queued. */
static bool send_mget(struct redis_tier *tier, redisAsyncContext *context, struct mget *mget)
{
    size_t count = mget->len + 1;
    const char **argv = malloc(count * sizeof *argv);
    size_t *lens = malloc(count * sizeof *lens);
    char(*keys)[KEY_SIZE] = malloc(mget->len * sizeof *keys);
    bool sent = false;

    if (argv && lens && keys) {
        argv[0] = "MGET";
        lens[0] = 4;
        for (size_t i = 0; i < mget->len; i++) {
            struct slice key = make_key(tier, &mget->store, &mget->digests[i], keys[i]);

            argv[i + 1] = key.at;
            lens[i + 1] = key.len;
        }
        sent = redisAsyncCommandArgv(context, on_reply, mget, (int)count, argv, lens) == REDIS_OK;
    }
    free(argv);
    free(lens);
    free(keys);
    return sent;
}

void redis_tier_read(struct redis_tier *tier, const struct digest *digests, size_t len,
                     struct redis_read read)
{
    redisAsyncContext *context = context_of(tier);
    struct timeval timeout = clock_timeval(tier->env->config->redis_timeout);
    struct mget *mget;

    if (!context) {
        deliver_none(&read, len, tier->link ? FOUND_DOWN : FOUND_OFF);
        return;
    }
    mget = malloc(sizeof *mget + len * sizeof *digests);
    if (mget) {
        *mget = (struct mget){.tier = tier,
                              .read = read,
                              .len = len,
                              .sent_us = clock_monotonic_us(),
                              .store = tier->env->stores.current};
        memcpy(mget->digests, digests, len * sizeof *digests);
    }
    if (!mget || !send_mget(tier, context, mget)) {
        free(mget);
        deliver_none(&read, len, FOUND_DOWN);
        return;
    }
    event_assign(&mget->timer, tier->env->base, -1, 0, on_late, mget);
    event_add(&mget->timer, &timeout);
    tier->env->metrics.value[METRIC_REDIS_ROUND_TRIPS]++;
    tier->env->metrics.value[METRIC_REDIS_KEYS] += len;
    histogram_record(&tier->env->metrics.histogram[HISTOGRAM_REDIS_BATCH], (int64_t)len, 1);
}

/* Nobody waits for a write, but an error is an error: -READONLY, -OOM and the like count. No reply
 * means that the connection has gone, which was counted already. */
static bool written(struct redis_tier *tier, const redisReply *reply)
{
    if (!reply)
        return false;
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    tier->env->metrics.value[METRIC_REDIS_ERRORS]++;
    redis_link_failed(tier->link, reply->str);
    return false;
}

static void on_filled(redisAsyncContext *context, void *data, void *arg)
{
    struct redis_tier *tier = arg;
    const redisReply *reply = data;

    (void)context;
    /* A null reply: something was there already, and NX left it. */
    if (written(tier, reply))
        tier->env->metrics.value[METRIC_REDIS_FILLS] += reply->type == REDIS_REPLY_STATUS;
}

void redis_tier_fill(struct redis_tier *tier, const struct digest *digest,
                     const struct verdict *verdict, int64_t server_read_us, int64_t ttl_us)
{
    redisAsyncContext *context = context_of(tier);
    char key_text[KEY_SIZE];
    char value[REDIS_VALUE_SIZE];

    if (!context || (verdict->kind != VERDICT_ALLOW && verdict->kind != VERDICT_DENY_INACTIVE))
        return;
    struct slice key = make_key(tier, &tier->env->stores.current, digest, key_text);
    size_t len = redis_value_encode(key, verdict, server_read_us, tier->env->redis_secret, value);
    if (len > 0)
        redisAsyncCommand(context, on_filled, tier, "SET %b %b NX PX %lld", key.at, key.len, value,
                          len, (long long)(ttl_us / 1000));
}

static void on_tombstone(redisAsyncContext *context, void *data, void *arg)
{
    struct redis_tier *tier = arg;

    (void)context;
    if (written(tier, data))
        tier->env->metrics.value[METRIC_REDIS_TOMBSTONES]++;
}

void redis_tier_tombstone(struct redis_tier *tier, const struct digest *digest, int64_t ttl_us)
{
    redisAsyncContext *context = context_of(tier);
    char key_text[KEY_SIZE];
    char value[REDIS_VALUE_SIZE];
    /* Redis counts by another clock than those who judge an age; it may run a little fast. */
    int64_t life_us = ttl_us + ttl_us / 8;

    if (!context)
        return;
    struct slice key = make_key(tier, &tier->env->stores.current, digest, key_text);
    size_t len = redis_value_encode_tombstone(
        pg_clock_latest_reading(&tier->env->clock, clock_monotonic_us()), value);
    redisAsyncCommand(context, on_tombstone, tier, "SET %b %b PX %lld", key.at, key.len, value, len,
                      (long long)(life_us / 1000));
}
