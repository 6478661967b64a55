/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/ledger_half.h>

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "ledger_map.h"

static size_t size_of(const struct ledger_half *half, uint32_t slots)
{
    return slots * half->slot_size;
}

static size_t place_of(const struct ledger_half *half, uint32_t slot)
{
    return (size_t)half->offset + size_of(half, slot);
}

/* A part of the file, and of the mapping. */
struct part {
    size_t at, len; /* bytes */
};

/* Returns the pages of the slots, because the system gives and takes whole pages. A page belongs to
 * the slots in which it begins (ledger_map.h). */
static struct part pages_of(const struct ledger_half *half, uint32_t from, uint32_t slots)
{
    size_t at = ledger_map_up_to_page(place_of(half, from));

    return (struct part){at, ledger_map_up_to_page(place_of(half, from + slots)) - at};
}

/* Returns the pages that the slots need. The page in which the half begins is this half's, although
 * it begins before: nobody reads the header through the mapping, and no half uses its last step. */
static struct part room_of(const struct ledger_half *half, uint32_t from, uint32_t slots)
{
    struct part room = pages_of(half, from, slots);

    if (from == 0) {
        size_t begin = place_of(half, 0) - place_of(half, 0) % ledger_map_page();

        room.len += room.at - begin;
        room.at = begin;
    }
    return room;
}

/* Returns the slots up to the end of the step. After a restart on a full file system the first step
 * may be shorter. */
static uint32_t step_from(const struct ledger_half *half)
{
    return ledger_half_step(half) - half->reserved % ledger_half_step(half);
}

bool ledger_half_reserve(struct ledger_half *half)
{
    uint32_t step = step_from(half);
    struct part room = room_of(half, half->reserved, step);

    if (half->reserved >= ledger_half_slots(half))
        return false;
    /* No page begins in a step's last slots: they have room already. */
    if (half->fd >= 0 && room.len > 0 &&
        fallocate(half->fd, 0, (off_t)room.at, (off_t)room.len) != 0)
        return false;
    half->reserved += step;
    return true;
}

/* The file system has no room. Use memory instead, for this half's next steps too, because a file
 * with a gap counts as damaged. */
static bool borrow(struct ledger_half *half)
{
    uint32_t step = step_from(half);
    struct part room = room_of(half, half->reserved, step);

    if (half->fd < 0 || half->reserved >= ledger_half_slots(half) ||
        !ledger_map_borrow(half->map, room.at, room.len))
        return false;
    if (half->borrowed_from > half->reserved)
        half->borrowed_from = half->reserved;
    half->reserved += step;
    return true;
}

static bool grow(struct ledger_half *half)
{
    bool on_file = half->borrowed_from > half->reserved;

    return (on_file && ledger_half_reserve(half)) || borrow(half);
}

/* Store the time last: a slot without a time does not count. A killed process loses no store that
 * it has made, on any processor. But the kernel may write a page of a file on a disk meanwhile, and
 * arm64 shows it plain stores in any order: hence the release, which is a plain store on amd64. */
static void store(const struct ledger_half *half, uint32_t i, const struct row_id *api_key_id,
                  int64_t last_used_us, uint64_t count)
{
    struct usage_slot *slot = ledger_half_slot(half, i);

    usage_slot_set_id(slot, half->type, api_key_id);
    slot->count = count;
    __atomic_store_n(&slot->last_used_us, last_used_us, __ATOMIC_RELEASE);
}

bool ledger_half_append(struct ledger_half *half, const struct row_id *api_key_id, int64_t now_us,
                        uint64_t tag, uint32_t *hint)
{
    assert(half->slots);
    if (half->used == half->reserved && !grow(half))
        return false;
    store(half, half->used, api_key_id, now_us, tag + 1);
    *hint = half->used++;
    return true;
}

bool ledger_half_punch(const struct ledger_half *half, uint32_t from, uint32_t slots)
{
    struct part pages = pages_of(half, from, slots);

    if (half->fd < 0)
        return ledger_map_discard(half->map, pages.at, pages.len);
    return fallocate(half->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)pages.at,
                     (off_t)pages.len) == 0;
}

/* Give room beyond this round's need back to the file system. Memory follows demand one round
 * later. */
static void give_back(struct ledger_half *half, uint32_t needed)
{
    uint32_t step = ledger_half_step(half);
    uint32_t kept = (needed / step + 1) * step;

    /* Step by step: the front thread may have to wait for one, when it grows the other half. */
    while (half->reserved >= kept + step && ledger_half_punch(half, half->reserved - step, step))
        half->reserved -= step;
}

/* Map the file again in place of the memory. */
static void return_borrowed(struct ledger_half *half)
{
    uint32_t from = half->borrowed_from;

    if (from >= half->reserved)
        return;
    struct part room = room_of(half, from, half->reserved - from);
    if (!ledger_map_return(half->map, room.at, room.len))
        return;
    half->reserved = from;
    half->borrowed_from = UINT32_MAX;
}

size_t ledger_half_lost(const struct ledger_half *half)
{
    size_t lost = 0;

    for (uint32_t i = 0; i < half->used; i++)
        lost += ledger_half_slot(half, i)->last_used_us == 0;
    return lost;
}

void ledger_half_forget_counts(struct ledger_half *half)
{
    for (uint32_t i = 0; i < half->used; i++) {
        volatile uint64_t *count = &ledger_half_slot(half, i)->count;

        if (*count > COUNT_USES) /* the verdict stays: a refusal is no use */
            *count &= ~UINT64_C(0) << COUNT_VERDICT_SHIFT;
    }
}

/* Cut from the end: a process that is killed meanwhile leaves slots without a gap. */
static void cut(struct ledger_half *half, uint32_t used)
{
    while (half->used > used)
        *(volatile int64_t *)&ledger_half_slot(half, --half->used)->last_used_us = 0;
    half->kept = used;
}

/* Put the entry of the other slot into `slot`, whose own entry is not needed. Meanwhile neither key
 * has a time later than its own. */
static void replace(const struct ledger_half *half, uint32_t i, const struct usage_slot *other)
{
    struct usage_slot *slot = ledger_half_slot(half, i);
    struct row_id id = usage_slot_id(other, half->type);

    if (slot->last_used_us > other->last_used_us)
        *(volatile int64_t *)&slot->last_used_us = other->last_used_us;
    atomic_signal_fence(memory_order_release);
    store(half, i, &id, other->last_used_us, other->count);
}

bool ledger_half_keep(struct ledger_half *half, const struct usage_batch *pending)
{
    uint32_t *place = calloc(pending->len + 1, sizeof *place); /* of each key, plus 1 */
    uint32_t kept = 0;

    if (!place)
        return false;
    ledger_half_forget_counts(half);
    for (uint32_t i = 0; i < half->used; i++) {
        const struct usage_slot *slot = ledger_half_slot(half, i);
        const struct row_id id = usage_slot_id(slot, half->type);
        const struct usage_slot *wanted = usage_batch_find(pending, &id);

        if (!wanted || !usage_slot_is_use(slot))
            continue;
        uint32_t *known = &place[usage_batch_index(pending, wanted)];
        if (*known == 0) {
            *known = ++kept;
            if (i >= kept)
                replace(half, kept - 1, slot);
        } else if (slot->last_used_us > ledger_half_slot(half, *known - 1)->last_used_us) {
            *(volatile int64_t *)&ledger_half_slot(half, *known - 1)->last_used_us =
                slot->last_used_us;
        }
    }
    free(place);
    cut(half, kept);
    return true;
}

void ledger_half_clear(struct ledger_half *half)
{
    uint32_t needed = half->used;

    cut(half, 0);
    return_borrowed(half);
    give_back(half, needed);
}
