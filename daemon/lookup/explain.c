/* SPDX-License-Identifier: MIT */
#include "explain.h"

#include <inttypes.h>
#include <stdio.h>

#include <apikeyd/model/quota.h>
#include <apikeyd/wire/resp_reply.h>

/* The answer that CHECK would give now, and its tier. */
struct outcome {
    const struct verdict *verdict;
    enum tier tier;
    const char *reason;
};

struct fields {
    struct buffer text;
    size_t count;
};

static bool memory_is_servable(const struct explanation *e)
{
    return e->memory.verdict.kind != VERDICT_UNAVAILABLE && e->memory.use > USE_NEVER;
}

static struct outcome decide(const struct explanation *e)
{
    static const struct verdict unknown = {.kind = VERDICT_DENY_UNKNOWN};
    const struct verdict *in_memory = &e->memory.verdict;

    if (e->memory.malformed)
        return (struct outcome){&unknown, TIER_NONE,
                                "the key has not the form that keys.form demands; CHECK asks no "
                                "store"};
    if (in_memory->kind != VERDICT_UNAVAILABLE && e->memory.use == USE_NOW)
        return (struct outcome){in_memory, TIER_MEMORY, "memory holds a verdict within its ttl"};
    if (e->redis == FOUND_VERDICT && e->redis_use == USE_NOW)
        return (struct outcome){&e->in_redis, TIER_REDIS,
                                "memory holds none; Redis holds one within its ttl"};
    if (memory_is_servable(e) && e->postgres_down)
        return (struct outcome){in_memory, TIER_STALE,
                                "PostgreSQL is down; memory holds one within cache.stale_max"};
    if (e->asked)
        return (struct outcome){&e->in_postgres, TIER_POSTGRES,
                                "no cached verdict is fresh; PostgreSQL was asked"};
    if (memory_is_servable(e))
        return (struct outcome){in_memory, TIER_STALE,
                                "PostgreSQL does not answer; memory holds one within "
                                "cache.stale_max"};
    return (struct outcome){&verdict_unavailable, TIER_NONE, e->why_not};
}

static void field_text(struct fields *fields, const char *name, const char *value)
{
    resp_text(&fields->text, name);
    resp_text(&fields->text, value);
    fields->count++;
}

static void field_number(struct fields *out, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    field_text(out, name, text);
}

static void field_time(struct fields *fields, const char *name, int64_t wall_us)
{
    resp_text(&fields->text, name);
    resp_time(&fields->text, wall_us);
    fields->count++;
}

static void field_id(struct fields *out, const char *name, const struct row_id *id,
                     enum id_type type)
{
    char text[ID_TEXT_MAX + 1] = "";

    (void)row_id_to_text(id, type, text);
    field_text(out, name, text);
}

/* The verdict that holds now: what is kept may be outside of its key's window. */
static enum verdict_kind kind_of(const struct explanation *e, const struct verdict *verdict)
{
    return freshness_kind(&e->limits, verdict->kind, &verdict->window);
}

static void verdict_fields(struct fields *out, const struct explanation *e,
                           const struct outcome *outcome)
{
    const struct verdict *verdict = outcome->verdict;
    bool held = outcome->tier != TIER_NONE;
    int64_t age_us = e->limits.now_us - verdict->read_at_us;
    int64_t left_us = freshness_left(&e->limits, verdict->kind, verdict->read_at_us);

    field_text(out, "verdict", verdict_kind_name(kind_of(e, verdict)));
    field_text(out, "tier", tier_name(outcome->tier));
    field_text(out, "reason", outcome->reason);
    field_number(out, "age_ms", held ? age_us / 1000 : -1);
    field_number(out, "ttl_left_ms", held && left_us > 0 ? left_us / 1000 : 0);
    field_time(out, "read_at", held ? e->wall_us - age_us : 0);
}

/* The uses are those of the key's row, also if another row has the key by now. */
static void quota_fields(struct fields *out, const struct explanation *e, uint64_t quota)
{
    bool in_memory = e->memory.verdict.kind != VERDICT_UNAVAILABLE;

    field_number(out, "quota", (int64_t)quota);
    if (in_memory)
        field_number(out, "uses", (int64_t)e->memory.uses);
    else
        field_text(out, "uses", "unknown");
    field_text(out, "uses_of", e->memory.uses_known ? "all hosts" : "this host");
    field_text(out, "over_quota", e->memory.uses >= quota && in_memory ? "yes" : "no");
}

/* Of an ALLOW, also while the key is outside of its window. */
static void attribute_fields(struct fields *out, const struct explanation *e,
                             const struct verdict *verdict)
{
    struct attributes rest = verdict->attributes;
    struct attribute attribute;
    uint64_t quota;

    if (quota_take(&rest, &quota))
        quota_fields(out, e, quota);

    while (attributes_take(&rest, &attribute)) {
        char name[sizeof "attribute " + ATTRIBUTE_NAME_MAX];

        snprintf(name, sizeof name, "attribute %s", e->columns->column[attribute.column].name);
        resp_text(&out->text, name);
        resp_bulk(&out->text, attribute.value);
        out->count++;
    }
}

/* The fields of the verdict that CHECK would answer, or of PostgreSQL's if CHECK's is about no row.
 */
static void row_fields(struct fields *out, const struct explanation *e,
                       const struct outcome *outcome)
{
    const struct verdict *verdict =
        verdict_has_row(outcome->verdict) ? outcome->verdict : &e->in_postgres;

    if (!verdict_has_row(verdict))
        return;
    field_id(out, "api_key_id", &verdict->api_key_id, verdict->id_type);
    field_id(out, "user_id", &verdict->user_id, verdict->id_type);
    field_time(out, "not_before", verdict->window.start_us);
    field_time(out, "expires", verdict->window.end_us);
    attribute_fields(out, e, verdict);
}

static const char *memory_state(const struct explanation *e)
{
    if (e->memory.verdict.kind == VERDICT_UNAVAILABLE)
        return "absent";
    if (e->memory.use == USE_NOW)
        return "fresh";
    return freshness_read_since(e->memory.verdict.read_at_us, e->watermark_us)
               ? "expired"
               : "below the watermark";
}

static const char *redis_state(const struct explanation *e)
{
    if (e->redis != FOUND_VERDICT)
        return redis_finding_name(e->redis);
    if (e->redis_use == USE_NOW)
        return "fresh";
    return freshness_read_since(e->in_redis.read_at_us, e->watermark_us) ? "expired"
                                                                         : "below the watermark";
}

struct buffer explain_reply(const struct explanation *e)
{
    struct outcome outcome = decide(e);
    struct fields fields = {0};
    struct buffer reply = {0};
    char fingerprint[FINGERPRINT_SIZE];
    char store[STORE_TEXT_SIZE] = "unknown";
    int64_t watermark_wall_us =
        e->watermark_us == TIME_NEVER ? 0 : e->wall_us - (e->limits.now_us - e->watermark_us);

    digest_fingerprint(&e->digest, fingerprint);
    field_text(&fields, "key", fingerprint);
    verdict_fields(&fields, e, &outcome);
    field_text(&fields, "memory", memory_state(e));
    field_text(&fields, "refreshing", e->memory.refreshing ? "yes" : "no");
    field_text(&fields, "feed", e->limits.linked ? "up" : "down");
    field_text(&fields, "link", e->limits.linked ? "up" : "down"); /* deprecated */
    field_time(&fields, "watermark", watermark_wall_us);
    field_time(&fields, "floor", watermark_wall_us); /* deprecated */
    field_text(&fields, "redis", redis_state(e));
    if (e->has_store)
        store_id_to_text(&e->store, store);
    field_text(&fields, "store", store);
    field_text(&fields, "postgres",
               e->asked ? verdict_kind_name(kind_of(e, &e->in_postgres)) : e->why_not);
    field_number(&fields, "rows", e->asked ? (int64_t)e->in_postgres.rows : -1);
    row_fields(&fields, e, &outcome);
    field_time(&fields, "pending_last_used", e->pending_last_used_us);
    resp_map(&reply, fields.count, e->resp3);
    buffer_append(&reply, buffer_held(&fields.text).at, fields.text.len);
    buffer_free(&fields.text);
    return reply;
}
