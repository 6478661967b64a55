/* SPDX-License-Identifier: MIT */
#include "apikeyd/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void log_init(struct log *log, enum log_level level, enum log_target target)
{
    log->level = level;
    log->prefix = target == LOG_TARGET_JOURNAL ||
                  (target == LOG_TARGET_AUTO && getenv("JOURNAL_STREAM") != NULL);
}

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
    static const struct {
        const char *prefix, *name;
    } label[] = {
        [LOG_LEVEL_ERROR] = {"<3>", "error: "},
        [LOG_LEVEL_WARNING] = {"<4>", "warning: "},
        [LOG_LEVEL_INFO] = {"<6>", ""},
        [LOG_LEVEL_DEBUG] = {"<7>", "debug: "},
    };
    char line[1024];
    va_list args;

    if (level > log->level)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    /* One write for the line, so that lines never mix. */
    dprintf(STDERR_FILENO, "%sapikeyd: %s%s\n", log->prefix ? label[level].prefix : "",
            label[level].name, line);
}
