/* top: the daemon's status and its busiest clients, live. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_TOP_H
#define APIKEYCTL_TOP_H

#include "command.h"

int run_top(const struct request *request);

#endif
