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

static int by_key(const void *a, const void *b)
{
    return uuid_order(&((const struct usage_slot *)a)->api_key_id,
                      &((const struct usage_slot *)b)->api_key_id);
}

static void take_later(struct usage_slot *slot, const struct usage_slot *other)
{
    if (other->last_used_us > slot->last_used_us)
        slot->last_used_us = other->last_used_us;
    slot->count += other->count;
}

/* Add a slot that is not before the last one. */
static size_t put(struct usage_slot *out, size_t len, const struct usage_slot *slot)
{
    if (len > 0 && uuid_order(&out[len - 1].api_key_id, &slot->api_key_id) == 0) {
        take_later(&out[len - 1], slot);
        return len;
    }
    out[len] = *slot;
    return len + 1;
}

bool usage_batch_merge(struct usage_batch *batch, const struct usage_slot *slots, size_t len)
{
    size_t cap = batch->len + len;

    if (len == 0)
        return true;
    struct usage_slot *fresh = malloc(len * sizeof *fresh);
    struct usage_slot *merged = malloc(cap * sizeof *merged);
    if (!fresh || !merged) {
        free(fresh);
        free(merged);
        return false;
    }
    size_t fresh_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (slots[i].last_used_us != 0)
            fresh[fresh_len++] = slots[i];
    }
    qsort(fresh, fresh_len, sizeof *fresh, by_key);

    size_t merged_len = 0;
    size_t old = 0;
    for (size_t i = 0; i < fresh_len; i++) {
        while (old < batch->len && by_key(&batch->slots[old], &fresh[i]) <= 0)
            merged_len = put(merged, merged_len, &batch->slots[old++]);
        merged_len = put(merged, merged_len, &fresh[i]);
    }
    while (old < batch->len)
        merged_len = put(merged, merged_len, &batch->slots[old++]);

    free(fresh);
    free(batch->slots);
    *batch = (struct usage_batch){merged, merged_len, cap, batch->owner};
    return true;
}

void usage_batch_compact(struct usage_batch *batch)
{
    size_t len = 0;

    for (size_t i = 0; i < batch->len; i++) {
        if (batch->slots[i].last_used_us != 0)
            batch->slots[len++] = batch->slots[i];
    }
    batch->len = len;
    if (len == 0)
        usage_batch_free(batch);
}

struct usage_slot *usage_batch_find(const struct usage_batch *batch, const struct uuid *api_key_id)
{
    struct usage_slot wanted = {.api_key_id = *api_key_id};

    if (batch->len == 0)
        return NULL;
    return bsearch(&wanted, batch->slots, batch->len, sizeof wanted, by_key);
}

void usage_batch_free(struct usage_batch *batch)
{
    free(batch->slots);
    *batch = (struct usage_batch){.owner = batch->owner};
}
