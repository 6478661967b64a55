/* feed_entry: what a relay says to sidecars, as one line in a Redis stream.
 *
 *     1 <relay> <epoch> <number> key <time> <digest> [<tag>]
 *     1 <relay> <epoch> <number> all <time> [<tag>]
 *     1 <relay> <epoch> <number> missing <time> [<tag>]
 *     1 <relay> <epoch> <number> confirmed <time> <timeline> <start> <gap> <delay> [<tag>]
 *
 * A relay has a random number for each of its runs, 16 hex digits. Each of its LISTEN streams is an
 * epoch, and the entries of an epoch are numbered from 1 on, so a missing entry is seen. Times are
 * PostgreSQL's, µs since 1970; 0: not known. A confirmation says: every change whose COMMIT
 * returned before that time, by the clock of the server on this timeline that was started then, is
 * in an earlier entry of the epoch. <gap> is 1 while triggers do not announce every change; a
 * change is late by <delay> µs at most.
 *
 * The tag is an HMAC-SHA-256 over the stream's name and the line before the tag. The name holds the
 * server's system identifier, database and table, and the columns that the triggers look at. With
 * a secret, an entry without the right tag is FORGED. A tag does not make an entry fresh: the
 * reader judges that by the entry's time, and by the numbers.
 *
 * Pure. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FEED_ENTRY_H
#define APIKEYD_FEED_ENTRY_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/digest.h>

enum { FEED_ENTRY_SIZE = 256 }; /* of the longest entry, with its NUL */

enum feed_entry_kind {
    FEED_ENTRY_KEY,       /* a key was changed */
    FEED_ENTRY_ALL,       /* any key may have been changed */
    FEED_ENTRY_MISSING,   /* changes before now may not have been announced */
    FEED_ENTRY_CONFIRMED, /* all earlier changes have been told */
};

struct feed_entry {
    uint64_t relay;
    int64_t epoch, number;
    enum feed_entry_kind kind;
    int64_t server_us;
    struct digest digest; /* of KEY */
    /* Of CONFIRMED: */
    uint32_t timeline;
    int64_t started_us; /* the server's start, µs since 1970 */
    bool gap;
    int64_t delay_us;
};

enum feed_entry_fault { FEED_ENTRY_FINE, FEED_ENTRY_FORGED, FEED_ENTRY_BROKEN };

/* Write `entry` for the stream `name`. `secret` may be empty. Returns the length; the text also
 * ends in a NUL. 0 when libcrypto fails. */
size_t feed_entry_encode(struct slice name, const struct feed_entry *entry, struct slice secret,
                         char ret_text[static FEED_ENTRY_SIZE]);

/* Read an entry of the stream `name`; leaves *ret alone unless it is FINE. */
enum feed_entry_fault feed_entry_decode(struct slice name, struct slice text, struct slice secret,
                                        struct feed_entry *ret);

#endif
