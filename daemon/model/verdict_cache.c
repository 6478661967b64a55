/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/verdict_cache.h>

#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <apikeyd/model/quota.h>

#include "attribute_store.h"

/* Ways of a set. With this many, sets fill alike, and a key has a second set for when its first is
 * full. So a table that is nearly full still takes new verdicts. */
enum { WAYS = 32 };

/* A search compares eight tags at a time, a byte each in a word. */
enum { TAGS = 8 };

enum { HUGE_PAGE = 2 * 1024 * 1024 };

/* Most processors' cache line. Where lines are longer, as on some arm64, two verdicts share one. */
enum { LINE = 64 };

_Static_assert(sizeof(struct cached_verdict) == LINE, "one verdict is one cache line");
_Static_assert(sizeof(struct cached_rest) == LINE, "what text needs is one more");

/* A key's home is one slot of its first set. A search examines the home first. The home holds the
 * key unless another key was there before, so most hits wait for memory once. For the other slots
 * there is a byte of the digest beside each slot, so a search touches only likely slots, and a key
 * that is not held costs its home and a line or two of tags, not all slots of its sets. */
struct table {
    char *slots;               /* sets * WAYS, in the mapping; empty: its kind is UNAVAILABLE */
    size_t slot_size;          /* bytes: a line or two */
    size_t window_size;        /* bytes; 0: no key has a window */
    uint8_t *tag;              /* as many as slots, behind them; 0: the slot is empty */
    struct key_window *window; /* as many, behind the tags */
    struct attribute_store *attributes; /* by the slots' indices; NULL: no key has any */
    void *mapping;
    size_t mapping_size;
    size_t sets;
    size_t used;
    uint64_t evictions, attribute_evictions;
};

struct verdict_cache {
    struct table positive;
    struct table negative;
    uint64_t seed;
};

/* The bytes of a slot, with its tag and perhaps a window. */
static size_t slot_bytes(const struct table *table)
{
    return table->slot_size + sizeof(uint8_t) + table->window_size;
}

static struct cached_verdict *slot_at(const struct table *table, size_t index)
{
    return (void *)(table->slots + index * table->slot_size);
}

static size_t index_of(const struct table *table, const struct cached_verdict *slot)
{
    return (size_t)((const char *)slot - table->slots) / table->slot_size;
}

static bool table_init(struct table *table, size_t bytes, bool with_rest, bool with_windows)
{
    table->slot_size = with_rest ? 2 * LINE : LINE;
    table->window_size = with_windows ? sizeof(struct key_window) : 0;
    table->sets = bytes / (WAYS * slot_bytes(table));
    if (table->sets == 0)
        table->sets = 1;
    size_t slots = table->sets * WAYS;
    size_t size = slots * slot_bytes(table);
    table->mapping_size = size + HUGE_PAGE;
    table->mapping =
        mmap(NULL, table->mapping_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table->mapping == MAP_FAILED) {
        table->mapping = NULL;
        return false;
    }
    char *at = table->mapping;
    at += (HUGE_PAGE - (uintptr_t)at % HUGE_PAGE) % HUGE_PAGE;
    table->slots = at;
    table->tag = (uint8_t *)(at + slots * table->slot_size);
    if (with_windows)
        table->window = (void *)(table->tag + slots); /* WAYS keeps it aligned */
    /* A new mapping is zero, so all slots are empty and no page is touched. Hits are spread over
     * all pages; huge pages fit into the TLB. Only advice. */
    (void)madvise(at, size, MADV_HUGEPAGE);
    return true;
}

static void table_done(struct table *table)
{
    attribute_store_free(table->attributes);
    if (table->mapping)
        munmap(table->mapping, table->mapping_size);
}

struct verdict_cache *verdict_cache_new(size_t bytes, size_t negative_bytes,
                                        struct verdict_form form, uint64_t seed)
{
    struct verdict_cache *cache = calloc(1, sizeof *cache);

    if (!cache)
        return NULL;
    cache->seed = seed;
    if (!table_init(&cache->positive, bytes, id_has_rest(form.id_type), form.windows) ||
        !table_init(&cache->negative, negative_bytes, false, false)) {
        verdict_cache_free(cache);
        return NULL;
    }
    if (form.attribute_bytes > 0) {
        cache->positive.attributes = attribute_store_new(form.attribute_bytes);
        if (!cache->positive.attributes) {
            verdict_cache_free(cache);
            return NULL;
        }
    }
    return cache;
}

void verdict_cache_free(struct verdict_cache *cache)
{
    if (!cache)
        return;
    table_done(&cache->positive);
    table_done(&cache->negative);
    free(cache);
}

/* Where a key may be. */
struct place {
    size_t home;   /* index of a slot in the first set */
    size_t set[2]; /* indices of the sets' first slots */
    uint8_t tag;
};

/* The upper halves of the mixed digest, and of a second mix, choose the sets. The lower bits choose
 * the home slot and the tag. */
static struct place place_of(const struct table *table, uint64_t mixed)
{
    uint64_t again = mixed * UINT64_C(0x9e3779b97f4a7c15);
    size_t first = ((mixed >> 32) * table->sets >> 32) * WAYS;

    return (struct place){
        .home = first + (mixed >> 8) % WAYS,
        .set = {first, ((again >> 32) * table->sets >> 32) * WAYS},
        .tag = (uint8_t)(1 + (uint8_t)mixed % UINT8_MAX),
    };
}

/* Returns which of eight tags equal this one: the top bit of each equal tag, and no other bit.
 * (Henry S. Warren, Hacker's Delight, 6-1.) */
static uint64_t match(const uint8_t *tags, uint8_t tag)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t word;

    memcpy(&word, tags, sizeof word);
    word = le64toh(word) ^ UINT64_C(0x0101010101010101) * tag;
    return ~(((word & low) + low) | word | low);
}

/* The slot of the lowest match. */
static struct cached_verdict *matched(const struct table *table, size_t first, uint64_t matches)
{
    return slot_at(table, first + (size_t)__builtin_ctzll(matches) / 8);
}

static uint8_t *tag_at(const struct table *table, const struct cached_verdict *slot)
{
    return &table->tag[index_of(table, slot)];
}

/* Returns whether `slot` holds `digest`. An empty slot still has the digest of a removed key. */
static bool holds(const struct cached_verdict *slot, const struct digest *digest)
{
    return digest_equal(&slot->digest, digest) && slot->kind != VERDICT_UNAVAILABLE;
}

static struct cached_verdict *set_find(const struct table *table, size_t set, uint8_t tag,
                                       const struct digest *digest)
{
    for (size_t first = set; first < set + WAYS; first += TAGS) {
        for (uint64_t left = match(&table->tag[first], tag); left; left &= left - 1) {
            struct cached_verdict *slot = matched(table, first, left);

            if (holds(slot, digest))
                return slot;
        }
    }
    return NULL;
}

static struct cached_verdict *table_find(const struct table *table, uint64_t mixed,
                                         const struct digest *digest)
{
    struct place place = place_of(table, mixed);
    struct cached_verdict *slot = slot_at(table, place.home);

    if (holds(slot, digest))
        return slot;
    slot = set_find(table, place.set[0], place.tag, digest);
    return slot ? slot : set_find(table, place.set[1], place.tag, digest);
}

/* Home if it is empty, else any empty slot of the first set, then of the second. */
static struct cached_verdict *empty_slot(const struct table *table, const struct place *place)
{
    if (table->tag[place->home] == 0)
        return slot_at(table, place->home);
    for (int i = 0; i < 2; i++) {
        for (size_t first = place->set[i]; first < place->set[i] + WAYS; first += TAGS) {
            uint64_t empty = match(&table->tag[first], 0);

            if (empty)
                return matched(table, first, empty);
        }
    }
    return NULL;
}

/* About a second; the count wraps after 19 hours, which only makes the choice of an eviction
 * worse. */
static uint16_t coarse(int64_t now_us)
{
    return (uint16_t)(now_us >> 20);
}

/* The slot of a full set to give up: one that is not fresh (but which may still be served
 * stale), else the one not used for longest. */
static struct cached_verdict *victim(const struct table *table, const struct place *place,
                                     const struct freshness_limits *limits)
{
    struct cached_verdict *least = slot_at(table, place->set[0]);
    unsigned least_worth = UINT_MAX;

    assert(table->slots); /* mapped when the cache was made */
    for (unsigned i = 0; i < WAYS; i++) {
        struct cached_verdict *slot = slot_at(table, place->set[0] + i);
        unsigned recency = (uint16_t)(UINT16_MAX - (coarse(limits->now_us) - slot->used));
        bool fresh = freshness_is_fresh(limits, slot->kind, slot->read_at_us);
        unsigned worth = fresh ? recency + UINT16_MAX + 1 : recency;

        if (worth < least_worth) {
            least = slot;
            least_worth = worth;
        }
    }
    return least;
}

bool verdict_cache_touch(struct cached_verdict *slot, int64_t now_us)
{
    uint16_t now = coarse(now_us);

    if (slot->used == now)
        return false;
    slot->used = now;
    return true;
}

void verdict_cache_prefetch(const struct verdict_cache *cache, const struct digest *digest)
{
    struct place place = place_of(&cache->positive, digest_mix(digest, cache->seed));

    __builtin_prefetch(slot_at(&cache->positive, place.home), 1);
}

const struct cached_verdict *verdict_cache_prefetch_likely(const struct verdict_cache *cache,
                                                           const struct digest *digest)
{
    const struct table *table = &cache->positive;
    struct place place = place_of(table, digest_mix(digest, cache->seed));
    const struct cached_verdict *home = slot_at(table, place.home);

    if (holds(home, digest))
        return home;
    for (size_t first = place.set[0]; first < place.set[0] + WAYS; first += TAGS) {
        uint64_t found = match(&table->tag[first], place.tag);

        if (found) {
            const struct cached_verdict *likely = matched(table, first, found);

            __builtin_prefetch(likely, 1);
            return likely;
        }
    }
    return NULL;
}

void verdict_cache_prefetch_attributes(const struct verdict_cache *cache,
                                       const struct digest *digest, int step)
{
    const struct table *table = &cache->positive;
    struct place place = place_of(table, digest_mix(digest, cache->seed));
    const struct cached_verdict *home = slot_at(table, place.home);

    if (holds(home, digest) && home->flags & CACHED_ATTRIBUTES)
        attribute_store_prefetch(table->attributes, (uint32_t)place.home, step);
}

struct cached_verdict *verdict_cache_peek(struct verdict_cache *cache, const struct digest *digest)
{
    uint64_t mixed = digest_mix(digest, cache->seed);
    struct cached_verdict *slot = table_find(&cache->positive, mixed, digest);

    return slot ? slot : table_find(&cache->negative, mixed, digest);
}

struct cached_verdict *verdict_cache_get(struct verdict_cache *cache, const struct digest *digest,
                                         const struct freshness_limits *limits)
{
    struct cached_verdict *slot = verdict_cache_peek(cache, digest);

    if (!slot || !freshness_is_fresh(limits, slot->kind, slot->read_at_us))
        return NULL;
    verdict_cache_touch(slot, limits->now_us);
    return slot;
}

/* The table that a verdict of `kind` belongs in. */
static struct table *table_for(struct verdict_cache *cache, enum verdict_kind kind)
{
    return kind == VERDICT_DENY_UNKNOWN ? &cache->negative : &cache->positive;
}

static void empty(struct table *table, struct cached_verdict *slot)
{
    if (slot->flags & CACHED_ATTRIBUTES)
        attribute_store_remove(table->attributes, (uint32_t)index_of(table, slot));
    slot->flags = 0;
    *tag_at(table, slot) = 0;
    slot->kind = VERDICT_UNAVAILABLE;
    table->used--;
}

/* A key has one verdict, in one of the tables. */
void verdict_cache_remove(struct verdict_cache *cache, const struct digest *digest)
{
    struct cached_verdict *slot = verdict_cache_peek(cache, digest);

    if (slot)
        empty(table_for(cache, slot->kind), slot);
}

/* A slot for a new verdict; its old verdict is lost. */
static struct cached_verdict *make_room(struct table *table, const struct place *place,
                                        const struct freshness_limits *limits)
{
    struct cached_verdict *slot = empty_slot(table, place);

    if (slot) {
        table->used++;
        return slot;
    }
    slot = victim(table, place, limits);
    table->evictions += freshness_is_fresh(limits, slot->kind, slot->read_at_us);
    return slot;
}

/* Verdicts whose attributes are spared while room is made for others. */
enum { SPARED_MAX = 16 };

/* Make room for attributes. In the way are verdicts in the order in which they came; those that
 * were used since the hand last passed stay, and the others go whole. */
static void make_attribute_room(struct table *table, size_t len,
                                const struct freshness_limits *limits)
{
    struct attribute_block block;

    for (unsigned spared = 0; attribute_store_crowded(table->attributes, len, &block);) {
        struct cached_verdict *slot = slot_at(table, block.holder);
        bool fresh = freshness_is_fresh(limits, slot->kind, slot->read_at_us);

        if (fresh && slot->used != block.mark && spared < SPARED_MAX) {
            attribute_store_spare(table->attributes, slot->used);
            spared++;
        } else {
            table->attribute_evictions += fresh;
            empty(table, slot);
        }
    }
}

/* Keep the attributes of the verdict that was just put into the slot, in the place of those that
 * the slot `had`, of this key or of another one. */
static void keep_attributes(struct table *table, struct cached_verdict *slot, bool had,
                            struct attributes attributes, const struct freshness_limits *limits)
{
    uint32_t holder = (uint32_t)index_of(table, slot);
    bool some = attributes.len > 0;

    if (some)
        slot->flags |= CACHED_ATTRIBUTES;
    if (quota_leads(attributes))
        slot->flags |= CACHED_QUOTA;
    if (had && some && attribute_store_replace(table->attributes, holder, attributes))
        return;
    if (had)
        attribute_store_remove(table->attributes, holder);
    if (!some)
        return;
    make_attribute_room(table, attributes.len, limits);
    attribute_store_put(table->attributes, holder, attributes, slot->used);
}

const struct key_window *verdict_cache_window(const struct verdict_cache *cache,
                                              const struct cached_verdict *slot)
{
    const struct table *table = &cache->positive;

    assert(table->window);
    return &table->window[index_of(table, slot)];
}

struct attributes verdict_cache_attributes(const struct verdict_cache *cache,
                                           const struct cached_verdict *slot)
{
    const struct table *table = &cache->positive;

    if (!(slot->flags & CACHED_ATTRIBUTES))
        return (struct attributes){0};
    return attribute_store_get(table->attributes, (uint32_t)index_of(table, slot));
}

struct verdict verdict_cache_verdict(const struct verdict_cache *cache,
                                     const struct cached_verdict *slot)
{
    struct verdict verdict = {0};

    cached_verdict_read(slot, &verdict);
    if (slot->flags & CACHED_WINDOW)
        verdict.window = *verdict_cache_window(cache, slot);
    verdict.attributes = verdict_cache_attributes(cache, slot);
    return verdict;
}

struct cached_verdict *verdict_cache_put(struct verdict_cache *cache, const struct digest *digest,
                                         const struct verdict *verdict,
                                         const struct freshness_limits *limits)
{
    struct table *table = table_for(cache, verdict->kind);
    struct cached_verdict *slot = verdict_cache_peek(cache, digest);

    if (slot && !freshness_read_since(verdict->read_at_us, slot->read_at_us))
        return slot;
    if (slot && table_for(cache, slot->kind) != table) {
        empty(table_for(cache, slot->kind), slot);
        slot = NULL;
    }
    if (!slot) {
        struct place place = place_of(table, digest_mix(digest, cache->seed));

        slot = make_room(table, &place, limits);
        *tag_at(table, slot) = place.tag;
        slot->usage_slot = 0;
    }
    bool had_attributes = slot->flags & CACHED_ATTRIBUTES;
    *slot = (struct cached_verdict){
        .digest = *digest,
        .usage_slot = slot->usage_slot,
        .used = coarse(limits->now_us),
    };
    cached_verdict_set(slot, verdict);
    if (key_window_some(&verdict->window)) {
        assert(table->window);
        table->window[index_of(table, slot)] = verdict->window;
        slot->flags |= CACHED_WINDOW;
    }
    if (table->attributes)
        keep_attributes(table, slot, had_attributes, verdict->attributes, limits);
    return slot;
}

static struct verdict_cache_stats table_stats(const struct table *table)
{
    size_t slots = table->sets * WAYS;
    struct verdict_cache_stats stats = {
        .slots = slots,
        .bytes = slots * slot_bytes(table),
        .used = table->used,
        .evictions = table->evictions,
    };

    if (table->attributes) {
        struct attribute_store_stats attributes = attribute_store_stats(table->attributes);

        stats.attribute_bytes = attributes.bytes;
        stats.attribute_used = attributes.used;
        stats.attribute_evictions = table->attribute_evictions;
    }
    return stats;
}

struct verdict_cache_stats verdict_cache_stats(const struct verdict_cache *cache)
{
    return table_stats(&cache->positive);
}

struct verdict_cache_stats verdict_cache_negative_stats(const struct verdict_cache *cache)
{
    return table_stats(&cache->negative);
}
