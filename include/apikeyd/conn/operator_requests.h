/* operator_requests: requests of operators that the back thread answers, and how long the front
 * thread waits.
 *
 * The back thread knows a request by a number, which comes back with the reply. A reply is dropped
 * when its client has gone, or has already got an error because the deadline passed. So the back
 * thread holds no pointer to a client, and no client waits forever when the back thread stands
 * still. Front thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OPERATOR_REQUESTS_H
#define APIKEYD_OPERATOR_REQUESTS_H

#include <apikeyd/conn/connection.h>

/* The error that a client gets after the deadline. */
#define NO_ANSWER_FROM_BACK "UNAVAILABLE the daemon's back thread does not answer"

TAILQ_HEAD(operator_request_list, operator_request);

struct operator_requests {
    struct operator_request_list waiting;
    uint64_t last;  /* the last number given out */
    size_t awaited; /* replies that are still to come, whether their client has gone or not */
};

void operator_requests_init(struct operator_requests *requests);

/* Returns a number for a request that has just been posted to the back thread. */
uint64_t operator_requests_number(const struct operator_requests *requests);

/* Request operator_requests_number() has been posted: its reply belongs here in the client's
 * stream, and has to come before `deadline_us` (monotonic). False when out of memory: the reply
 * will be dropped. */
bool operator_requests_wait(struct operator_requests *requests, struct connection *connection,
                            int64_t deadline_us);

/* The reply has come. */
void operator_requests_reply(struct operator_requests *requests, uint64_t number,
                             struct slice reply);

/* Answer the requests whose deadline has passed with an error. */
void operator_requests_expire(struct operator_requests *requests, int64_t now_us);

#endif
