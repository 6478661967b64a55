/* greeting: what client libraries send when they connect, before their first CHECK.
 *
 * Each request is answered as a stand-alone Redis server without a password and without keys would
 * answer it (commands reference of Redis, "connection" and "server"), so that a library finds what
 * it looks for and goes on. A name and the version of the protocol are kept; the rest changes
 * nothing. A command gets a number of arguments that its table row allows.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_GREETING_H
#define APIKEYD_GREETING_H

#include <apikeyd/conn/connection.h>
#include <apikeyd/wire/resp_request.h>

struct front;

void greeting_hello(struct front *front, struct connection *connection,
                    const struct resp_request *request);
/* There is no password: who may connect is decided by the socket's mode, allow_uids and
 * allow_gids. */
void greeting_auth(struct front *front, struct connection *connection,
                   const struct resp_request *request);
void greeting_client(struct front *front, struct connection *connection,
                     const struct resp_request *request);
void greeting_select(struct front *front, struct connection *connection,
                     const struct resp_request *request);
void greeting_role(struct front *front, struct connection *connection,
                   const struct resp_request *request);
/* CLUSTER, READONLY, READWRITE */
void greeting_no_cluster(struct front *front, struct connection *connection,
                         const struct resp_request *request);
/* MODULE LIST, LATENCY LATEST, MEMORY USAGE: there are none. */
void greeting_none(struct front *front, struct connection *connection,
                   const struct resp_request *request);
void greeting_config(struct front *front, struct connection *connection,
                     const struct resp_request *request);

/* For struct protocol. */
const char *greeting_client_name(const struct connection *connection);

#endif
