/* verdict_cache: the in-process answer to "may this key pass?"
 *
 * A fixed table from digest to verdict, one 64-byte line each (two where IDs are text), and a byte
 * beside it. Where keys may have windows (key_window.h), 16 bytes more stand elsewhere, which only
 * a hit of a key with a window reads. Attributes stand in a region of their own, and a verdict
 * lives no longer than its attributes: an ALLOW that had some is never answered as if it had none.
 * It allocates once, never rehashes, never blocks and never reads a clock. When a set is full the
 * least useful verdict goes: that costs one lookup, never a wrong answer. DENY unknown lives in a
 * table of its own, so that a flood of made-up keys can evict only other made-up keys. One thread
 * owns a cache.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_VERDICT_CACHE_H
#define APIKEYD_VERDICT_CACHE_H

#include <stddef.h>

#include <apikeyd/model/digest.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/model/verdict.h>

struct verdict_cache;

/* One cached verdict, which is never UNAVAILABLE. A verdict with IDs of type text has a struct
 * cached_rest behind it, also outside of a cache. */
struct cached_verdict {
    struct digest digest;
    struct id_head api_key_id;
    struct id_head user_id;
    int64_t read_at_us;
    uint32_t usage_slot; /* where the ledger last wrote this key's usage: a hint, checked on use */
    uint16_t used;       /* time of the last hit, in coarse units that wrap */
    uint8_t kind;        /* enum verdict_kind */
    uint8_t flags;
};

struct cached_rest {
    struct id_rest api_key_id;
    struct id_rest user_id;
    uint8_t unused[24]; /* to the end of the line */
};

enum {
    CACHED_REFRESHING = 1 << 0, /* a refresh was asked for */
    CACHED_WINDOW = 1 << 1,     /* the key has a window: verdict_cache_window() */
    CACHED_OUTDATED = 1 << 2,   /* outside of a cache: a change has overtaken the verdict */
    CACHED_ATTRIBUTES = 1 << 3, /* the key has some: verdict_cache_attributes() */
    CACHED_QUOTA = 1 << 4,      /* the attributes begin with one: quota.h */
    CACHED_ID_SHIFT = 6,        /* the two highest bits are the enum id_type */
};

static inline enum id_type cached_verdict_id_type(const struct cached_verdict *slot)
{
    return (enum id_type)(slot->flags >> CACHED_ID_SHIFT);
}

/* Put a verdict into a slot; the slot's other fields stay as they are. */
static inline void cached_verdict_set(struct cached_verdict *slot, const struct verdict *verdict)
{
    const uint8_t others = (1 << CACHED_ID_SHIFT) - 1;
    enum id_type type = verdict_has_row(verdict) ? verdict->id_type : ID_UUID;

    slot->api_key_id = verdict->api_key_id.head;
    slot->user_id = verdict->user_id.head;
    slot->read_at_us = verdict->read_at_us;
    slot->kind = (uint8_t)verdict->kind;
    slot->flags = (uint8_t)((slot->flags & others) | (unsigned)type << CACHED_ID_SHIFT);
    if (id_has_rest(type)) {
        struct cached_rest *rest = (struct cached_rest *)(slot + 1);

        rest->api_key_id = verdict->api_key_id.rest;
        rest->user_id = verdict->user_id.rest;
    }
}

/* Read the verdict in a slot, except the rests of IDs that have none, its window and its
 * attributes. For the path of a hit. */
static inline void cached_verdict_read(const struct cached_verdict *slot, struct verdict *ret)
{
    ret->kind = (enum verdict_kind)slot->kind;
    ret->rows = 0;
    ret->attributes.len = 0;
    ret->read_at_us = slot->read_at_us;
    ret->id_type = cached_verdict_id_type(slot);
    ret->api_key_id.head = slot->api_key_id;
    ret->user_id.head = slot->user_id;
    if (id_has_rest(ret->id_type)) {
        const struct cached_rest *rest = (const struct cached_rest *)(slot + 1);

        ret->api_key_id.rest = rest->api_key_id;
        ret->user_id.rest = rest->user_id;
    }
}

struct verdict_cache_stats {
    size_t slots;
    size_t bytes; /* of the slots and their tags */
    size_t used;  /* slots that hold a verdict, expired ones included */
    uint64_t evictions;
    size_t attribute_bytes;       /* of the region for attributes; 0: there is none */
    size_t attribute_used;        /* bytes of it */
    uint64_t attribute_evictions; /* fresh verdicts that went because the region was full */
};

/* The form of verdicts on existing keys. */
struct verdict_form {
    enum id_type id_type;
    bool windows;           /* keys may have some */
    size_t attribute_bytes; /* memory for attributes; 0: keys have none */
};

/* At most `bytes` for verdicts on existing keys, of that form, and `negative_bytes` for DENY
 * unknown. NULL when out of memory. `seed` should be random and secret. */
struct verdict_cache *verdict_cache_new(size_t bytes, size_t negative_bytes,
                                        struct verdict_form form, uint64_t seed);
void verdict_cache_free(struct verdict_cache *cache);

/* Returns the verdict for `digest` if one is held and fresh, else NULL. A hit counts as use. The
 * pointer is valid until the next put or remove. */
struct cached_verdict *verdict_cache_get(struct verdict_cache *cache, const struct digest *digest,
                                         const struct freshness_limits *limits);

/* Prefetch the verdict for `digest`, if it is in its home slot. */
void verdict_cache_prefetch(const struct verdict_cache *cache, const struct digest *digest);

/* Prefetch the verdict if it is not in its home slot. Returns a likely match found by tag, for
 * hints only, or NULL. */
const struct cached_verdict *verdict_cache_prefetch_likely(const struct verdict_cache *cache,
                                                           const struct digest *digest);

/* Prefetch the attributes of the verdict for `digest`, if it is in its home slot: in step 0 what
 * tells where they are, in step 1 themselves. */
void verdict_cache_prefetch_attributes(const struct verdict_cache *cache,
                                       const struct digest *digest, int step);

/* Returns the verdict for `digest`, however old, or NULL; changes nothing. */
struct cached_verdict *verdict_cache_peek(struct verdict_cache *cache, const struct digest *digest);

/* The window of a slot of the cache that has CACHED_WINDOW. Valid as long as the slot is. */
const struct key_window *verdict_cache_window(const struct verdict_cache *cache,
                                              const struct cached_verdict *slot);

/* The attributes of a slot of the cache; none without CACHED_ATTRIBUTES. Valid until the next put
 * or remove. */
struct attributes verdict_cache_attributes(const struct verdict_cache *cache,
                                           const struct cached_verdict *slot);

/* The whole verdict in a slot of the cache, with its window and a view of its attributes. A slot
 * does not hold the number of rows: it is 0, not known. */
struct verdict verdict_cache_verdict(const struct verdict_cache *cache,
                                     const struct cached_verdict *slot);

/* Keep `verdict` (not UNAVAILABLE), unless one read later is held. Returns what is held now. */
struct cached_verdict *verdict_cache_put(struct verdict_cache *cache, const struct digest *digest,
                                         const struct verdict *verdict,
                                         const struct freshness_limits *limits);

/* Forget a verdict. */
void verdict_cache_remove(struct verdict_cache *cache, const struct digest *digest);

/* A check used the verdict of `slot`. True the first time in about a second. */
bool verdict_cache_touch(struct cached_verdict *slot, int64_t now_us);

struct verdict_cache_stats verdict_cache_stats(const struct verdict_cache *cache);
struct verdict_cache_stats verdict_cache_negative_stats(const struct verdict_cache *cache);

#endif
