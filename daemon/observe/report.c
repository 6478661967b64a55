/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/report.h>

#include "process_metrics.h"
#include "status_json.h"

void report_print(enum report_kind kind, const char *section, struct status_snapshot *snapshot,
                  struct buffer *out)
{
    process_metrics_read(&snapshot->total);
    switch (kind) {
    case REPORT_INFO:
        status_snapshot_print_info(snapshot, section, out);
        break;
    case REPORT_METRICS:
        metrics_print_exposition(&snapshot->total, out);
        break;
    case REPORT_STATUS:
        status_json_print(snapshot, out);
        break;
    }
}
