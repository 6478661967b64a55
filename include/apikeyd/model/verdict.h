/* verdict: the facts known about a key, and their read time.
 *
 * It is copied whole wherever it goes. Each place that keeps one in another form has one conversion
 * each way: a slot of the cache (verdict_cache_put(), verdict_cache_verdict()), a value in Redis
 * (redis_value_encode(), redis_value_decode()), a row of PostgreSQL (key_query_row()). So a new
 * field is added here and there.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_VERDICT_H
#define APIKEYD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <apikeyd/model/attributes.h>
#include <apikeyd/model/key_window.h>
#include <apikeyd/model/row_id.h>

#define TIME_NEVER INT64_MIN /* earlier than every read time */

enum verdict_kind {
    VERDICT_UNAVAILABLE, /* no store can tell now; never cached, never shown as a DENY */
    VERDICT_ALLOW,
    VERDICT_DENY_UNKNOWN,
    VERDICT_DENY_INACTIVE,
    /* An ALLOW outside of its key's window: answers only (freshness_kind()), kept nowhere. */
    VERDICT_DENY_EXPIRED,
    VERDICT_DENY_EARLY,
};

#define VERDICT_LAST VERDICT_DENY_EARLY

struct verdict {
    enum verdict_kind kind;
    uint32_t rows;      /* rows with this key ID; more than one is a duplicate; 0 when not known */
    int64_t read_at_us; /* monotonic time at which PostgreSQL was asked; its age counts from here */
    /* Of an ALLOW, of the oldest row. A view: its bytes live as long as the place that the verdict
     * is in, or was copied from, says. */
    struct attributes attributes;
    enum id_type id_type;     /* of the two IDs */
    struct row_id api_key_id; /* of the oldest row; set if verdict_has_row() */
    struct row_id user_id;
    struct key_window window; /* in which an ALLOW holds */
};

static const struct verdict verdict_unavailable = {.kind = VERDICT_UNAVAILABLE};

/* Returns whether the verdict is about a row of the table. */
static inline bool verdict_has_row(const struct verdict *verdict)
{
    return verdict->kind != VERDICT_UNAVAILABLE && verdict->kind != VERDICT_DENY_UNKNOWN;
}

/* The source of an answer. */
enum tier { TIER_MEMORY, TIER_REDIS, TIER_POSTGRES, TIER_STALE, TIER_NONE };

const char *verdict_kind_name(enum verdict_kind kind); /* "ALLOW", "DENY unknown", … */
const char *tier_name(enum tier tier);

#endif
