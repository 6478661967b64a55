/* http_aws: answers Lambda authorizer events. Front thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_AWS_H
#define APIKEYD_HTTP_AWS_H

#include <apikeyd/conn/connection.h>

struct front;

/* Answer an event in its place among the connection's replies, now or later. `flags` are
 * http_reply's. Otherwise, and with nothing done, what is wrong with the event, for people. */
const char *http_aws_authorizer(struct front *front, struct connection *connection,
                                struct slice event, unsigned flags);

#endif
