/* watermarks: the read time below which a key's verdicts are not fresh. For freshness only.
 *
 * A change raises its key's watermark: verdicts that were read before are no longer fresh, from any
 * tier and however late. All keys whose digests share a place in the table share one watermark, so
 * the table never grows, forgets nothing and needs no cleaning. A watermark raised for another key
 * costs one lookup in PostgreSQL, and no wrong answer. Times are monotonic microseconds. One thread
 * owns it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_WATERMARKS_H
#define APIKEYD_WATERMARKS_H

#include <apikeyd/model/digest.h>
#include <apikeyd/model/verdict.h>

enum { WATERMARKS = 16384 };

struct watermarks {
    int64_t of[WATERMARKS];
};

/* No watermark is raised yet. */
void watermarks_init(struct watermarks *watermarks);

/* The key changed before `now_us`. */
void watermarks_raise(struct watermarks *watermarks, const struct digest *digest, int64_t now_us);

/* Returns the time before which reads of the key are not fresh, or TIME_NEVER. */
int64_t watermarks_get(const struct watermarks *watermarks, const struct digest *digest);

#endif
