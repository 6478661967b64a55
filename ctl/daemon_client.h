/* daemon_client: asks the daemon on its admin socket. An error is reported and ends the program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DAEMON_CLIENT_H
#define APIKEYCTL_DAEMON_CLIENT_H

#include <hiredis/hiredis.h>
#include <jansson.h>

#include <apikeyd/config/config.h>

#include "command.h"

/* Load the daemon's configuration, to find its sockets and keys. A missing file yields the
 * defaults, unless the command line named it. */
struct config *daemon_config(const struct request *request);

redisContext *daemon_connect(const struct request *request);

/* Send a command, and return any reply, errors included. Free the reply. */
redisReply *daemon_try(redisContext *context, int argc, const char **argv);

/* End the program if the reply to `command` is an error. */
void daemon_expect(const redisReply *reply, const char *command);

/* As daemon_try(), but an error reply ends the program. */
redisReply *daemon_ask(redisContext *context, int argc, const char **argv);

/* Returns the reply to STATUS, parsed. */
json_t *daemon_status(redisContext *context);

/* Returns the clients, as an array of objects with the members of CLIENT LIST. */
json_t *daemon_clients(redisContext *context);

#endif
