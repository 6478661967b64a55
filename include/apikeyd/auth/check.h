/* check: from a key to an answer, on the front thread.
 *
 * A fresh verdict in memory is answered at once. A miss starts a flight, or joins the one
 * that is under way for its digest; everyone who waits for a flight gets the answer that ends
 * it. Nobody waits longer than config_wait_max_us(), even if the back thread stands still, and when
 * it is known to, nobody waits at all. An ALLOW records usage; nothing else does. Which protocol
 * asked matters only to the reply encoder.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CHECK_H
#define APIKEYD_CHECK_H

#include <apikeyd/conn/connection.h>
#include <apikeyd/model/mailbox.h>

struct front;

/* What waits for lookups, and the timer of the longest wait. `seed` is random. False when out of
 * memory. */
bool check_init(struct front *front, uint64_t seed);

/* After all clients have gone. */
void check_done(struct front *front);

struct answer {
    const struct verdict *verdict;
    enum tier tier;
    int64_t left_us; /* what is left of the verdict's ttl; negative when it is served stale */
    const char *why; /* what stands behind UNAVAILABLE; lives forever */
};

/* How a protocol writes an answer. */
struct reply_encoder {
    void (*write)(struct front *front, struct buffer *out, const struct answer *answer,
                  const struct reply_encoder *encoder);
    unsigned flags; /* for `write` to know */
    char *text;     /* likewise; malloc()ed or NULL */
};

/* One check, as a client has asked for it. */
struct check {
    struct connection *connection; /* the answer belongs next among its replies */
    struct slice key;              /* as the client sent it */
    int64_t within_ms;             /* the client's limit; 0: none */
    struct reply_encoder encoder;
    struct digest digest; /* of the key: for check_digest() */
    struct slice column;  /* the key column's value: for check.c, set once it is needed */
};

/* Answer in its place, now or later; this takes the encoder's text. Otherwise, and with nothing
 * done, what is wrong with the key. */
const char *check_key(struct front *front, struct check *check);

/* The same for a key (1 to 255 bytes) whose digest is known. */
const char *check_digest(struct front *front, struct check *check);

/* What is wrong with a key ID, or NULL. Lives forever. */
const char *check_key_id(struct slice key);

/* An answer for this key comes next: have the memory that it needs on its way. */
void check_prefetch(const struct front *front, const struct digest *digest);

/* The configuration is another: those who wait have its deadline from now on. */
void check_configured(struct front *front);

/* The back thread stands still: answer everyone who waits for it. */
void check_give_up(struct front *front);

/* The back thread's answer: keep it and tell everyone who waits. Those who asked while it was under
 * way, and for whom it is too old, have one more lookup. */
void check_answer(struct front *front, const struct to_front *message);

/* The same of an answer that a change has overtaken: it is true for those who asked before it was
 * read, and for nobody else. */
void check_outdated(struct front *front, const struct to_front *message);

#endif
