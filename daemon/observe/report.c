/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/report.h>

#include "process_metrics.h"
#include "status_json.h"

void report_print(enum report_kind kind, const char *section, struct overview *overview,
                  struct buffer *out)
{
    process_metrics_read(&overview->total);
    switch (kind) {
    case REPORT_INFO:
        overview_print_info(overview, section, out);
        break;
    case REPORT_METRICS:
        metrics_print_exposition(&overview->total, out);
        break;
    case REPORT_STATUS:
        status_json_print(overview, out);
        break;
    }
}
