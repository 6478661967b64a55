/* verdict: the facts known about a key, and their read time.
 *
 * It is copied whole wherever it goes. Each place that keeps one in another form has one conversion
 * each way: a slot of the cache (cached_verdict_set(), cached_verdict_get()), a value in Redis
 * (redis_value_encode(), redis_value_decode()), a row of PostgreSQL (key_query_row()). So a new
 * field is added here and there.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_VERDICT_H
#define APIKEYD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <apikeyd/model/row_id.h>

#define TIME_NEVER INT64_MIN /* earlier than every read time */

enum verdict_kind {
    VERDICT_UNAVAILABLE, /* no store can tell now; never cached, never shown as a DENY */
    VERDICT_ALLOW,
    VERDICT_DENY_UNKNOWN,
    VERDICT_DENY_INACTIVE,
};

struct verdict {
    enum verdict_kind kind;
    uint32_t rows;      /* rows with this key ID; more than one is a duplicate; 0 when not known */
    int64_t read_at_us; /* monotonic time at which PostgreSQL was asked; its age counts from here */
    enum id_type id_type;     /* of the two IDs */
    struct row_id api_key_id; /* of the oldest row; set if verdict_has_row() */
    struct row_id user_id;
};

static const struct verdict verdict_unavailable = {.kind = VERDICT_UNAVAILABLE};

/* Returns whether the verdict is about a row of the table. */
static inline bool verdict_has_row(const struct verdict *verdict)
{
    return verdict->kind == VERDICT_ALLOW || verdict->kind == VERDICT_DENY_INACTIVE;
}

/* The source of an answer. */
enum tier { TIER_MEMORY, TIER_REDIS, TIER_POSTGRES, TIER_STALE, TIER_NONE };

const char *verdict_kind_name(enum verdict_kind kind); /* "ALLOW", "DENY unknown", … */
const char *tier_name(enum tier tier);

#endif
