/* process_metrics: the process's use of the machine. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PROCESS_METRICS_H
#define APIKEYD_PROCESS_METRICS_H

#include <apikeyd/model/metrics.h>

/* Set the gauges of the process. A gauge that cannot be read stays as it is. The call inspects each
 * open file descriptor, so it is too slow for every tick. */
void process_metrics_read(struct metrics *metrics);

#endif
