/* floors: since when what is read of a key is believed.
 *
 * A change raises its key's floor: what was read before is not fresh any more, wherever it
 * comes from and however late. One floor is shared by all keys whose digests fall into one place,
 * so the table never grows, forgets nothing and needs no tidying up; that a floor was raised for
 * another key costs one lookup in PostgreSQL, and no wrong answer. Times are monotonic
 * microseconds. One thread owns it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FLOORS_H
#define APIKEYD_FLOORS_H

#include "apikeyd/digest.h"

enum { FLOORS = 16384 };

struct floors {
    int64_t of[FLOORS];
};

/* No floor is raised yet. */
void floors_init(struct floors *floors);

/* The key changed before `now_us`. */
void floors_raise(struct floors *floors, const struct digest *digest, int64_t now_us);

/* What was read of the key before this is not fresh; TIME_NEVER when all is. */
int64_t floors_get(const struct floors *floors, const struct digest *digest);

#endif
