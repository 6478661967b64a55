/* front: the thread that answers checks.
 *
 * The front thread owns the sockets, RESP, HTTP, the memory cache and the usage ledger. It calls
 * nothing that can block: no client library, no DNS, no disk, no log. For answers that are not in
 * memory the front thread asks the back thread, by mailbox.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FRONT_H
#define APIKEYD_FRONT_H

#include <apikeyd/model/mailbox.h>

struct front;

struct front_setup {
    struct config *config;     /* owned by the front from here on */
    struct key_hasher *hasher; /* likewise */
    uint64_t seed;             /* random */
    int fd[SOCKET_ROLES];      /* listening, not owned, -1: none; the metrics role is not used */
    struct ledger_half *usage;
    struct mailbox *to_back, *to_front;
};

/* NULL when out of memory; what it owns is then freed too. */
struct front *front_new(const struct front_setup *setup);

/* Serve until TO_FRONT_STOP. */
void front_run(struct front *front);

/* Call after front_run() has returned, when no other thread uses the mailboxes. Messages left in
 * them are dropped. */
void front_free(struct front *front);

#endif
