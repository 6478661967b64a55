/* process_metrics: what the process uses of the machine. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PROCESS_METRICS_H
#define APIKEYD_PROCESS_METRICS_H

#include <apikeyd/model/metrics.h>

/* Set the gauges of the process. What cannot be read stays as it is. It looks at each open file
 * descriptor, so it is not for every tick. */
void process_metrics_read(struct metrics *metrics);

#endif
