/* SPDX-License-Identifier: MIT */
#include "feed_name.h"

#include <inttypes.h>
#include <stdio.h>

/* FNV-1a, 64 bits. */
static uint64_t add_bytes(uint64_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ (unsigned char)bytes.at[i]) * UINT64_C(1099511628211);
    return hash;
}

struct slice feed_name(const struct config *config, const struct schema_inspection *expected,
                       const struct store_id *store, char ret[static FEED_NAME_SIZE])
{
    uint64_t hash = UINT64_C(14695981039346656037);

    /* Each ends in a NUL. The functions are not among them: releases that differ there meet. */
    for (int i = 0; i < SCHEMA_INSPECTION_SUBJECTS; i++)
        hash = add_bytes(hash, buffer_held(&expected->param[i]));
    int len = snprintf(ret, FEED_NAME_SIZE,
                       "%.128s1:feed/%" PRIu64 "/%" PRIu32 "/%" PRIu32 "+%016" PRIx64,
                       config->redis_prefix, store->system, store->database, store->table, hash);
    return (struct slice){ret, (size_t)len};
}
