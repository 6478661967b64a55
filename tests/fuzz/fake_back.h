/* fake_back: a front without its other thread, for fuzzers.
 *
 * The real front: connections, protocols, checks, cache, ledger. What it sends to the back thread
 * is answered here, in the same thread: "good" is an active key, "off" an inactive one, at "down"
 * nobody can tell, all others are unknown.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FUZZ_FAKE_BACK_H
#define APIKEYD_FUZZ_FAKE_BACK_H

#include <stdbool.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/conn/connection.h>

struct play {
    const struct protocol *protocol;
    struct slice bytes;
    size_t piece;     /* bytes sent at once; 0: all */
    bool answer_late; /* lookups are answered after everything was sent */
    bool hang_up;     /* and the client does not wait for it */
};

/* The first byte of an input chooses (but for its lowest bit) how the bytes from the third on are
 * sent, the second whether, and into how large pieces, they are cut. */
struct play fake_back_choose(const struct protocol *protocol, const uint8_t *data, size_t size);

/* Send the bytes over a connection of their own and append what comes back to *replies. Whatever
 * they are, the connection ends, and nothing is left of it. */
void fake_back_play(const struct play *play, struct buffer *replies);

#endif
