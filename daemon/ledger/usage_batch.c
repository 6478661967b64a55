/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/usage_batch.h>

#include <stdlib.h>
#include <string.h>

bool usage_judge(struct usage_slot *slot, int64_t now_us, struct usage_judged *judged)
{
    if (slot->last_used_us == 0)
        return true;
    if (!usage_time_plausible(slot->last_used_us)) {
        slot->last_used_us = 0;
        judged->dropped++;
        return false;
    }
    /* A host without a clock may still be at 1970: such a clock judges no entry. */
    if (slot->last_used_us > now_us && usage_time_plausible(now_us)) {
        slot->last_used_us = now_us;
        judged->clamped++;
    }
    return true;
}

static struct usage_slot *slot_at(const struct usage_batch *batch, size_t i)
{
    return usage_slot_at(batch->slots, i, batch->type);
}

static int by_head(const void *a, const void *b)
{
    return id_head_order(&((const struct usage_slot *)a)->api_key_id,
                         &((const struct usage_slot *)b)->api_key_id);
}

static int by_text(const void *a, const void *b)
{
    const struct row_id of_a = usage_slot_id(a, ID_TEXT);
    const struct row_id of_b = usage_slot_id(b, ID_TEXT);

    return row_id_order(&of_a, &of_b);
}

typedef int slot_order(const void *a, const void *b);

static slot_order *order_of(enum id_type type)
{
    return id_has_rest(type) ? by_text : by_head;
}

static void copy(struct usage_batch *out, size_t i, const struct usage_slot *slot)
{
    memcpy(slot_at(out, i), slot, usage_slot_size(out->type));
}

static void take_later(struct usage_slot *slot, const struct usage_slot *other)
{
    if (other->last_used_us > slot->last_used_us)
        slot->last_used_us = other->last_used_us;
    slot->count = (slot->count + other->count) & COUNT_USES; /* a damaged file may say anything */
}

/* Add a slot that is not before the last one. */
static void put(struct usage_batch *out, const struct usage_slot *slot)
{
    if (out->len > 0 && order_of(out->type)(slot_at(out, out->len - 1), slot) == 0)
        take_later(slot_at(out, out->len - 1), slot);
    else
        copy(out, out->len++, slot);
}

/* An empty batch like another one; without slots when out of memory. */
static struct usage_batch make(size_t cap, const struct usage_batch *like)
{
    return (struct usage_batch){.cap = cap,
                                .type = like->type,
                                .owner = like->owner,
                                .slots = malloc(cap * usage_slot_size(like->type))};
}

bool usage_batch_merge(struct usage_batch *batch, const struct usage_slot *slots, size_t len)
{
    slot_order *order = order_of(batch->type);
    size_t old = 0;

    if (len == 0)
        return true;
    struct usage_batch fresh = make(len, batch);
    struct usage_batch merged = make(batch->len + len, batch);
    if (!fresh.slots || !merged.slots) {
        free(fresh.slots);
        free(merged.slots);
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        const struct usage_slot *slot = usage_slot_at(slots, i, batch->type);

        if (!usage_slot_is_use(slot))
            continue;
        copy(&fresh, fresh.len, slot);
        slot_at(&fresh, fresh.len++)->count &= COUNT_USES;
    }
    qsort(fresh.slots, fresh.len, usage_slot_size(batch->type), order);
    for (size_t i = 0; i < fresh.len; i++) {
        while (old < batch->len && order(slot_at(batch, old), slot_at(&fresh, i)) <= 0)
            put(&merged, slot_at(batch, old++));
        put(&merged, slot_at(&fresh, i));
    }
    while (old < batch->len)
        put(&merged, slot_at(batch, old++));
    free(fresh.slots);
    free(batch->slots);
    *batch = merged;
    return true;
}

void usage_batch_compact(struct usage_batch *batch)
{
    size_t len = 0;

    for (size_t i = 0; i < batch->len; i++) {
        if (slot_at(batch, i)->last_used_us == 0)
            continue;
        if (len < i)
            copy(batch, len, slot_at(batch, i));
        len++;
    }
    batch->len = len;
    if (len == 0)
        usage_batch_free(batch);
}

struct usage_slot *usage_batch_find(const struct usage_batch *batch, const struct row_id *id)
{
    struct usage_slot wanted[2] = {0};

    if (batch->len == 0)
        return NULL;
    usage_slot_set_id(wanted, batch->type, id);
    return bsearch(wanted, batch->slots, batch->len, usage_slot_size(batch->type),
                   order_of(batch->type));
}

void usage_batch_free(struct usage_batch *batch)
{
    free(batch->slots);
    *batch = (struct usage_batch){.type = batch->type, .owner = batch->owner};
}
