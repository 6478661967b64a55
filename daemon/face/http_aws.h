/* http_aws: answers Lambda authorizer events. Front thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_AWS_H
#define APIKEYD_HTTP_AWS_H

#include <apikeyd/conn/connection.h>

struct front;

/* Answer an event in its place among the connection's replies, now or later. `flags` are
 * http_reply's. Returns NULL. If the event is malformed: do nothing, and return what is wrong with
 * it, for people. */
const char *http_aws_authorizer(struct front *front, struct connection *connection,
                                struct slice event, unsigned flags);

#endif
