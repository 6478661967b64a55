/* explain: the reasons for CHECK's answer, for people. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_EXPLAIN_H
#define APIKEYD_EXPLAIN_H

#include <apikeyd/model/attribute_columns.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/model/store.h>
#include <apikeyd/redis/redis_tier.h>

/* The findings about one key. The struct does not hold the key itself. */
struct explanation {
    bool resp3; /* what the operator's client speaks */
    struct digest digest;
    struct explain_memory memory;
    enum redis_finding redis;
    struct verdict in_redis; /* for FOUND_VERDICT */
    enum freshness_use redis_use;
    bool asked; /* PostgreSQL answered … */
    struct verdict in_postgres;
    const char *why_not; /* … or why it did not */
    const struct attribute_columns *columns;
    bool postgres_down;           /* known not to answer lookups */
    bool has_store;               /* it is known … */
    struct store_id store;        /* … which store is asked */
    int64_t watermark_us;         /* the key's, monotonic, or TIME_NEVER */
    int64_t pending_last_used_us; /* wall time, or 0 */
    struct freshness_limits limits;
    int64_t wall_us; /* wall time at limits.now_us */
};

/* The RESP reply: a map of fields and values. */
struct buffer explain_reply(const struct explanation *explanation);

#endif
