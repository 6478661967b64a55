/* usage: how much keys are used, by the table of counts. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_USAGE_H
#define APIKEYCTL_USAGE_H

#include "command.h"

int run_usage(const struct request *request);

/* Make the partitions of the coming months, and drop those of before usage.retention. */
int run_usage_maintain(const struct request *request);

#endif
