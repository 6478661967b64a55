/* SPDX-License-Identifier: MIT */
#include <apikeyd/auth/key_digest.h>

void key_digest_of_several(const struct key_hasher *hasher, const struct freshness *freshness,
                           struct verdict_cache *cache, struct slice key, struct digest *ret)
{
    struct digests digests;

    key_hasher_digests(hasher, key, &digests);
    const struct cached_verdict *cached = verdict_cache_peek(cache, &digests.of[0]);

    if (cached && freshness_outdated(freshness, &digests, cached->read_at_us))
        verdict_cache_remove(cache, &digests.of[0]);
    *ret = digests.of[0];
}
