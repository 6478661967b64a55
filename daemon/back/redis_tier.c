/* SPDX-License-Identifier: MIT */
#include "apikeyd/redis_tier.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/redis_link.h"
#include "apikeyd/redis_value.h"
#include "apikeyd/trust.h"

enum { KEY_SIZE = 128 + 2 + DIGEST_HEX_SIZE };

/* One MGET under way. hiredis cannot take a command back, so a late one is only marked; its
 * reply, or the connection's end, frees it. */
struct mget {
    struct redis_tier *tier;
    struct redis_read read;
    size_t len;
    bool late;
    int64_t sent_us;
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

static struct slice make_key(const struct redis_tier *tier, const struct digest *digest,
                             char ret[static KEY_SIZE])
{
    char *hex = stpcpy(stpcpy(ret, tier->env->config->redis_prefix), "1:");

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

bool redis_tier_usable(const struct redis_tier *tier)
{
    return tier->link && redis_link_context(tier->link);
}

/* What a value is worth; sets *ret for FOUND_VERDICT. */
static enum redis_finding judge(struct redis_tier *tier, const struct digest *digest,
                                struct slice value, int64_t now_us, struct verdict *ret)
{
    char key[KEY_SIZE];
    int64_t server_read_us = 0;
    struct verdict verdict;

    switch (redis_value_decode(make_key(tier, digest, key), value, tier->env->redis_secret,
                               &verdict, &server_read_us)) {
    case REDIS_VALUE_TOMBSTONE:
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

/* Tell the caller about every key: what the reply says, or `otherwise`. */
static void deliver(struct redis_tier *tier, const struct redis_read *read,
                    const struct digest *digests, size_t len, const redisReply *reply,
                    enum redis_finding otherwise)
{
    int64_t now_us = clock_monotonic_us();

    read->begin(read->arg);
    for (size_t i = 0; i < len; i++) {
        const redisReply *element = reply ? reply->element[i] : NULL;
        enum redis_finding finding = reply ? FOUND_NOTHING : otherwise;
        struct verdict verdict;

        if (element && element->type == REDIS_REPLY_STRING)
            finding = judge(tier, &digests[i], (struct slice){element->str, (size_t)element->len},
                            now_us, &verdict);
        read->each(read->arg, finding, finding == FOUND_VERDICT ? &verdict : NULL);
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
    deliver(tier, &mget->read, mget->digests, mget->len, NULL, FOUND_LATE);
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
    if (!mget->late)
        deliver(tier, &mget->read, mget->digests, mget->len, fine ? reply : NULL, FOUND_LATE);
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
            struct slice key = make_key(tier, &mget->digests[i], keys[i]);

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
    redisAsyncContext *context = tier->link ? redis_link_context(tier->link) : NULL;
    struct timeval timeout = clock_timeval(tier->env->config->redis_timeout);
    struct mget *mget;

    if (!context) {
        deliver(tier, &read, digests, len, NULL, tier->link ? FOUND_DOWN : FOUND_OFF);
        return;
    }
    mget = malloc(sizeof *mget + len * sizeof *digests);
    if (mget) {
        *mget =
            (struct mget){.tier = tier, .read = read, .len = len, .sent_us = clock_monotonic_us()};
        memcpy(mget->digests, digests, len * sizeof *digests);
    }
    if (!mget || !send_mget(tier, context, mget)) {
        free(mget);
        deliver(tier, &read, digests, len, NULL, FOUND_DOWN);
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
    redisAsyncContext *context = tier->link ? redis_link_context(tier->link) : NULL;
    char key_text[KEY_SIZE];
    char value[REDIS_VALUE_SIZE];

    if (!context || (verdict->kind != VERDICT_ALLOW && verdict->kind != VERDICT_DENY_INACTIVE))
        return;
    struct slice key = make_key(tier, digest, key_text);
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
    redisAsyncContext *context = tier->link ? redis_link_context(tier->link) : NULL;
    char key_text[KEY_SIZE];
    struct slice key = make_key(tier, digest, key_text);
    /* Redis counts by another clock than those who judge an age; it may run a little fast. */
    int64_t life_us = ttl_us + ttl_us / 8;

    if (context)
        redisAsyncCommand(context, on_tombstone, tier, "SET %b %s PX %lld", key.at, key.len,
                          REDIS_TOMBSTONE, (long long)(life_us / 1000));
}
