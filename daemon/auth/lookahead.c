/* SPDX-License-Identifier: MIT */
#include <apikeyd/auth/lookahead.h>

#include <apikeyd/auth/key_digest.h>
#include <apikeyd/wire/resp_request.h>

/* Parse and digest the requests, and prefetch the lines in which a search begins. */
static void fill(struct lookahead *lookahead, struct slice bytes, const struct key_hasher *hasher,
                 const struct freshness *freshness, struct verdict_cache *cache)
{
    lookahead_clear(lookahead);
    while (lookahead->len < LOOKAHEAD_MAX) {
        struct ahead *ahead = &lookahead->check[lookahead->len];

        ahead->at = bytes.at;
        ahead->taken = resp_request_check(bytes, &ahead->key);
        if (ahead->taken == 0 && bytes.len > 0)
            ahead->taken = resp_request_check_attributes(bytes, &ahead->key);
        if (ahead->taken == 0)
            return;
        key_digest(hasher, freshness, cache, ahead->key, &ahead->digest);
        verdict_cache_prefetch(cache, &ahead->digest);
        bytes.at += ahead->taken;
        bytes.len -= ahead->taken;
        lookahead->len++;
    }
}

/* The first lines have arrived and tell where the attributes are. As a rule all requests ask for
 * them, or none does. */
static void prefetch_attributes(const struct lookahead *lookahead,
                                const struct verdict_cache *cache)
{
    for (int step = 0; step < 2; step++) {
        for (unsigned i = 0; i < lookahead->len; i++)
            verdict_cache_prefetch_attributes(cache, &lookahead->check[i].digest, step);
    }
}

/* The first lines have arrived and tell where the verdicts are: prefetch those, then the keys'
 * usage slots. */
static void prefetch_verdicts(const struct lookahead *lookahead, const struct verdict_cache *cache,
                              const struct ledger_half *usage)
{
    const struct cached_verdict *likely[LOOKAHEAD_MAX];
    unsigned len = lookahead->len;

    for (unsigned i = 0; i < len; i++)
        likely[i] = verdict_cache_prefetch_likely(cache, &lookahead->check[i].digest);
    for (unsigned i = 0; i < len; i++) {
        if (likely[i])
            ledger_half_prefetch(usage, likely[i]->usage_slot);
    }
}

const struct ahead *lookahead_take(struct lookahead *lookahead, struct slice bytes,
                                   const struct key_hasher *hasher,
                                   const struct freshness *freshness, struct verdict_cache *cache,
                                   const struct ledger_half *usage)
{
    if (lookahead->next == lookahead->len) {
        fill(lookahead, bytes, hasher, freshness, cache);
        if (lookahead->len > 1) {
            prefetch_verdicts(lookahead, cache, usage);
            if (resp_request_asks_attributes(lookahead->check[0].at))
                prefetch_attributes(lookahead, cache);
        }
    }
    if (lookahead->next == lookahead->len || lookahead->check[lookahead->next].at != bytes.at)
        return NULL;
    return &lookahead->check[lookahead->next++];
}
