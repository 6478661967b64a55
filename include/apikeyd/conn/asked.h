/* asked: requests that the back thread answers, and how long the front thread waits for that.
 *
 * A request is known to the back thread by a number, which comes back with the reply. A reply whose
 * client has gone, or has had an error because the time was up, finds nobody and is dropped. So the
 * back thread holds nothing of a client's, and when it stands still nobody waits for it for ever.
 * Front thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ASKED_H
#define APIKEYD_ASKED_H

#include <apikeyd/conn/connection.h>

/* What a client is told when the time is up. */
#define ASKED_NO_ANSWER "UNAVAILABLE the daemon's back thread does not answer"

TAILQ_HEAD(question_list, question);

struct asked {
    struct question_list waiting;
    uint64_t last;  /* number given out */
    size_t awaited; /* replies that are still to come, with or without a client */
};

void asked_init(struct asked *asked);

/* The number of a request that has just been posted to the back thread. */
uint64_t asked_number(const struct asked *asked);

/* Request asked_number() has been posted: its reply belongs here in the client's stream, and has to
 * come before `deadline_us` (monotonic). False when memory is short: the reply will be dropped. */
bool asked_wait(struct asked *asked, struct connection *connection, int64_t deadline_us);

/* The reply has come. */
void asked_reply(struct asked *asked, uint64_t number, struct slice reply);

/* Tell those whose deadline is over that there is no answer. */
void asked_expire(struct asked *asked, int64_t now_us);

#endif
