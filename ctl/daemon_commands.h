/* daemon_commands: the commands that ask the daemon. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DAEMON_COMMANDS_H
#define APIKEYCTL_DAEMON_COMMANDS_H

#include "command.h"

int run_check(const struct request *request);
int run_explain(const struct request *request);
int run_invalidate(const struct request *request);
int run_flush(const struct request *request);
int run_config(const struct request *request);
int run_reload(const struct request *request);
int run_clients(const struct request *request);
int run_health(const struct request *request);

#endif
