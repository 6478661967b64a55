/* daemon_client: asks the daemon on its admin socket. What goes wrong is told, and ends the
 * program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DAEMON_CLIENT_H
#define APIKEYCTL_DAEMON_CLIENT_H

#include <hiredis/hiredis.h>
#include <jansson.h>

#include <apikeyd/config/config.h>

#include "command.h"

/* The daemon's configuration, for where its sockets and keys are. One that is not there reads as
 * the defaults, unless it was named. */
struct config *daemon_config(const struct request *request);

redisContext *daemon_connect(const struct request *request);

/* Ask, and take any reply, an error too. Free it. */
redisReply *daemon_try(redisContext *context, int argc, const char **argv);

/* Ask, where an error reply is a failure. */
redisReply *daemon_ask(redisContext *context, int argc, const char **argv);

/* STATUS, parsed. */
json_t *daemon_status(redisContext *context);

/* The clients, as an array of objects with the members of CLIENT LIST. */
json_t *daemon_clients(redisContext *context);

#endif
