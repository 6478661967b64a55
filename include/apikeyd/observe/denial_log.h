/* denial_log: refusals in the log: one by one, and a summary a minute (log.denials).
 *
 * A line names the key by its fingerprint, never the key itself. The summary has the counts of all
 * refusals, also of those that the rate leaves out. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DENIAL_LOG_H
#define APIKEYD_DENIAL_LOG_H

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/model/metrics.h>

enum { DENIAL_REASONS = 6 };

/* All zeros at first. */
struct denial_log {
    int64_t since_us; /* of the minute, monotonic; 0: none has begun */
    uint64_t counted[DENIAL_REASONS];
};

void denial_log_write(const struct log *log, const struct denial *denial);

/* Log the summary if a minute has passed. `total` has the counts since the start, with their sums.
 * Call it about once a second. */
void denial_log_tick(struct denial_log *denials, enum log_denials mode, int64_t now_us,
                     const struct metrics *total, const struct log *log);

#endif
