/* check: from a key to an answer, on the front thread.
 *
 * A believed verdict in memory is answered at once. A miss starts a flight, or joins the one
 * that is under way for its digest; everyone who waits for a flight gets the answer that ends
 * it. An ALLOW records usage; nothing else does.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CHECK_H
#define APIKEYD_CHECK_H

#include "apikeyd/connection.h"
#include "apikeyd/mailbox.h"

struct front;

/* CHECK <key id> [WITHIN <ms>] */
void check_command(struct front *front, struct connection *connection,
                   const struct resp_request *request);

/* What is wrong with a key ID, or NULL. */
const char *check_key_id(struct slice key);

/* The back thread's answer: keep it and tell everyone who waits. */
void check_answer(struct front *front, const struct to_front *message);

/* What memory holds about a key, for EXPLAIN; changes nothing. */
struct explain_memory check_peek(struct front *front, const struct digest *digest);

#endif
