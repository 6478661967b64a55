/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/log.h>

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *log_level_name(enum log_level level)
{
    static const char *const name[] = {
        [LOG_LEVEL_ERROR] = "error",
        [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_DEBUG] = "debug",
    };

    return name[level];
}

void log_line(const struct log *log, enum log_level level, const struct log_place *place,
              const char *format, ...)
{
    char line[LOG_LINE_SIZE];
    va_list args;

    if (level > log->level)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log->sink(log->arg, level, place, line);
}

void log_last_words(const char *text)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT))
        (void)!write(STDERR_FILENO, text, strlen(text));
}
