/* watermarks: below which read time a key's verdicts are not fresh. For freshness only.
 *
 * A change raises its key's watermark: what was read before is no longer fresh, wherever it
 * comes from and however late. One watermark is shared by all keys whose digests fall into one
 * place, so the table never grows, forgets nothing and needs no tidying up; that a watermark was
 * raised for another key costs one lookup in PostgreSQL, and no wrong answer. Times are monotonic
 * microseconds. One thread owns it.
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

/* What was read of the key before this is not fresh; TIME_NEVER when all is. */
int64_t watermarks_get(const struct watermarks *watermarks, const struct digest *digest);

#endif
