/* lookahead: the CHECKs of one read, all at once.
 *
 * A pipeline comes in one read. Each of its keys lies in a cache line of its own, and so does its
 * usage; asked one after the other each would wait for memory. So requests are parsed and digested
 * a batch ahead, and the lines that they will need are asked for: while the first is answered, the
 * others' lines come in. What is not a plain "CHECK <key>" ends a batch and is parsed on its own.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOOKAHEAD_H
#define APIKEYD_LOOKAHEAD_H

#include <apikeyd/base/slice.h>
#include <apikeyd/ledger/ledger.h>
#include <apikeyd/model/digest.h>
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

/* Forget: other bytes may stand where those of before stood. */
static inline void lookahead_clear(struct lookahead *lookahead)
{
    lookahead->next = lookahead->len = 0;
}

/* The CHECK at the start of `bytes`, digested; NULL when something else is there, or not all of it.
 * Between two clears `bytes` is the rest of the same bytes. */
const struct ahead *lookahead_take(struct lookahead *lookahead, struct slice bytes,
                                   struct key_hasher *hasher, struct verdict_cache *cache,
                                   const struct ledger_half *usage);

#endif
