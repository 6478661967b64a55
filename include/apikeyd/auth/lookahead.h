/* lookahead: the CHECKs of one read, all at once.
 *
 * A pipeline comes in one read. Each key's verdict lies in a cache line of its own, and so does its
 * usage; requests that are handled one by one would each wait for memory. So requests are parsed
 * and digested a batch ahead, and their cache lines are prefetched: while the first request is
 * answered, the lines of the others arrive. A request other than "CHECK <key> [ATTRIBUTES]" ends a
 * batch and is parsed on its own.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOOKAHEAD_H
#define APIKEYD_LOOKAHEAD_H

#include <apikeyd/base/slice.h>
#include <apikeyd/ledger/ledger.h>
#include <apikeyd/model/digest.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/verdict_cache.h>

enum { LOOKAHEAD_MAX = 32 };

struct ahead {
    const char *at; /* the request in the bytes that were read */
    size_t taken;   /* its length */
    struct slice key;
    struct digest digest;
};

struct lookahead {
    struct ahead check[LOOKAHEAD_MAX];
    unsigned next, len;
};

/* Forget the batch: other bytes may now stand in the same place. */
static inline void lookahead_clear(struct lookahead *lookahead)
{
    lookahead->next = lookahead->len = 0;
}

/* Returns the CHECK at the start of `bytes`, digested; NULL when another request is there, or an
 * incomplete one. Between two clears `bytes` is the rest of the same bytes. */
const struct ahead *lookahead_take(struct lookahead *lookahead, struct slice bytes,
                                   const struct key_hasher *hasher,
                                   const struct freshness *freshness, struct verdict_cache *cache,
                                   const struct ledger_half *usage);

#endif
