/* stats: the daemon's status for people. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_STATS_H
#define APIKEYCTL_STATS_H

#include <jansson.h>

#include "command.h"

int run_stats(const struct request *request);

/* Call `line` with each line of the report on a status. */
void stats_print(const json_t *status, void (*line)(void *arg, const char *text), void *arg);

#endif
