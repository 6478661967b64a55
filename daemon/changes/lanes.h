/* lanes: the relays whose entries share a Redis stream, each in an order of its own.
 *
 *     stream   a1 b7 a2 b8 a3 b10 …      a: 1 2 3      b: 7 8 ✗ 10
 *
 * An entry follows the one before in its lane if it is of the same epoch and has the next number.
 * An earlier entry that comes late, or again, is old: nothing is learnt from it. Pure. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LANES_H
#define APIKEYD_LANES_H

#include <apikeyd/changes/lease.h>
#include <apikeyd/wire/feed_entry.h>

/* Relays that confirm at one time. */
enum { LANES_MAX = 8 };

struct lane {
    uint64_t relay;
    int64_t epoch, number;      /* of the last entry; 0: none */
    int64_t heard_us;           /* when the last confirmation was taken, monotonic */
    struct lease_stream stream; /* what the lane is to the lease */
};

struct lanes {
    struct lane lane[LANES_MAX];
    unsigned next; /* the lane to give up next */
};

/* Returns the relay's lane. A new relay gets one that no relay confirms by, all zeros but for the
 * relay; NULL when there is none. So entries of relays that are gone, repeated by an attacker, push
 * out no lane that counts. */
struct lane *lanes_find(struct lanes *lanes, uint64_t relay);

enum lane_step {
    LANE_OLD,    /* ignore the entry */
    LANE_NEXT,   /* nothing is missing before it */
    LANE_BEGINS, /* the first one of this relay, or of an epoch */
    LANE_GAP,    /* entries are missing before it */
};

/* The entry has come in its lane. */
enum lane_step lane_take(struct lane *lane, const struct feed_entry *entry);

#endif
