/* check: from a key to an answer, on the front thread.
 *
 * A fresh verdict in memory is answered at once. A miss starts a flight, or joins the one that is
 * under way for its digest; every waiter of a flight gets the answer that ends the flight. No
 * waiter waits longer than config_wait_max_us(), even if the back thread stands still. While the
 * back thread is known to stand still, no check waits at all. An ALLOW records usage, and with
 * usage.counts so does a DENY of a key that exists. Only the reply encoder depends on the protocol.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CHECK_H
#define APIKEYD_CHECK_H

#include <apikeyd/conn/connection.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/model/quota.h>

struct front;

/* Set up the waiters for lookups, and the timer of the longest wait. `seed` is random. False when
 * out of memory. */
bool check_init(struct front *front, uint64_t seed);

/* Call after all clients have gone. */
void check_done(struct front *front);

struct answer {
    const struct verdict *verdict;
    enum tier tier;  /* NONE: UNAVAILABLE, or a key that cannot exist */
    int64_t left_us; /* the rest of the verdict's ttl; negative when the verdict is served stale */
    const char *why; /* the reason for UNAVAILABLE; lives forever */
    const struct quota_told *quota; /* of an ALLOW; NULL: the key has none */
};

/* How a protocol writes an answer. */
struct reply_encoder {
    void (*write)(struct front *front, struct buffer *out, const struct answer *answer,
                  const struct reply_encoder *encoder);
    unsigned flags;  /* for `write` to know */
    bool attributes; /* an ALLOW is written with its attributes; without this it has none */
    char *text;      /* likewise; malloc()ed or NULL. It may hold a key */
    size_t text_len;
};

/* Wipe and free the text. */
void reply_encoder_clear(struct reply_encoder *encoder);

/* One check, as a client asks for it. */
struct check {
    struct connection *connection; /* the answer is its next reply */
    struct slice key;              /* as the client sent it */
    struct slice forwarded;        /* X-Forwarded-For; empty: none */
    int64_t within_ms;             /* the client's limit; 0: none */
    struct reply_encoder encoder;
    struct digest digest; /* of the key: for check_digest() */
};

/* Answer in its place, now or later; takes the encoder's text; returns NULL. If the key is
 * malformed: do nothing, and return what is wrong with the key. */
const char *check_key(struct front *front, struct check *check);

/* As check_key(), for a key (1 to 255 bytes) whose digest is known, from key_digest(). */
const char *check_digest(struct front *front, struct check *check);

/* Returns what is wrong with a key ID, or NULL. The text lives forever. */
const char *check_key_id(struct slice key);

/* Returns whether keys.form says that the key cannot exist: it is DENY unknown, and no store is
 * asked. Memory holds no such key: it holds what a store was asked for, and a change of the form
 * outdates all verdicts. */
bool check_is_malformed(const struct front *front, struct slice key);

/* Prefetch the memory that an answer for this key needs. */
void check_prefetch(const struct front *front, const struct digest *digest);

/* The configuration has changed: waiters have the new deadline from now on. */
void check_configured(struct front *front);

/* Keys have other digests, or another form, from now on: lookups under way begin anew, or end with
 * DENY unknown if the key cannot exist any more, and answers to the old ones are dropped. One text
 * may be a key by the old digests, and the hash of another by the new ones. */
void check_rekeyed(struct front *front);

/* The back thread stands still: answer every waiter. */
void check_give_up(struct front *front);

/* The back thread's answer: keep the verdict and answer the waiters. Waiters that joined during the
 * flight, and for which the verdict is too old, get one more lookup. */
void check_answer(struct front *front, const struct to_front *message);

/* As check_answer(), for an answer that a change has overtaken: the answer is valid only for
 * waiters that asked before it was read. */
void check_outdated(struct front *front, const struct to_front *message);

#endif
