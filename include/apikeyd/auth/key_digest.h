/* key_digest: the digest by which the front thread knows a key.
 *
 * A message removes the verdict of a key when its row changes, by the digest that announced the
 * change. A key with several digests (see key_hasher.h) is held by the first of them only, so a
 * change that another one announced waits for the next use of the key: whoever asks for the digest
 * finds the verdict removed.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_DIGEST_H
#define APIKEYD_KEY_DIGEST_H

#include <apikeyd/model/freshness.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/verdict_cache.h>

/* The key's first digest, for keys of several. Removes the verdict in memory if a change of the key
 * is known since it was read. */
void key_digest_of_several(const struct key_hasher *hasher, const struct freshness *freshness,
                           struct verdict_cache *cache, struct slice key, struct digest *ret);

/* As key_digest_of_several(), for any key. */
static inline void key_digest(const struct key_hasher *hasher, const struct freshness *freshness,
                              struct verdict_cache *cache, struct slice key, struct digest *ret)
{
    if (!key_hasher_digest(hasher, key, ret))
        key_digest_of_several(hasher, freshness, cache, key, ret);
}

#endif
