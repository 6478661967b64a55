/* report: the texts that operators read: INFO, METRICS and STATUS. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REPORT_H
#define APIKEYD_REPORT_H

#include <apikeyd/model/mailbox.h>
#include <apikeyd/observe/status_snapshot.h>

/* Append the text; `section` is INFO's, "" is all. Adds the process metrics to the snapshot. */
void report_print(enum report_kind kind, const char *section, struct status_snapshot *snapshot,
                  struct buffer *out);

#endif
