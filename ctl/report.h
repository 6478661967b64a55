/* report: which keys could go, and which need a successor. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_REPORT_H
#define APIKEYCTL_REPORT_H

#include "command.h"

int run_keys_report(const struct request *request);

#endif
