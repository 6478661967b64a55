/* log: messages to operators.
 *
 * Lower layers return errors; the layer that knows what an error means for the user logs it. A key
 * ID is never logged: use digest_fingerprint(). The daemon's sink does not block (log_writer). The
 * status page shows the log too. The page belongs to the back thread, so other threads send that
 * thread their lines. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_H
#define APIKEYD_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_AUTO, LOG_TARGET_JOURNAL, LOG_TARGET_STDERR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Bytes of a line with its NUL; a longer one is cut. */
enum { LOG_LINE_SIZE = 1024 };

/* The place in the source that a line comes from. */
struct log_place {
    const char *file, *function;
    int line;
};

struct log {
    enum log_level level;
    /* Takes a line, without its end. The place's names live forever. */
    void (*sink)(void *arg, enum log_level level, const struct log_place *place, const char *line);
    void *arg;
};

const char *log_level_name(enum log_level level);

__attribute__((format(printf, 4, 5))) void log_line(const struct log *log, enum log_level level,
                                                    const struct log_place *place,
                                                    const char *format, ...);

/* Write to stderr, unless that would block: for a process that cannot continue, and may have no
 * memory for a line. */
void log_last_words(const char *text);

#define log_write(log, level, ...)                                                                 \
    log_line(log, level, &(const struct log_place){__FILE__, __func__, __LINE__}, __VA_ARGS__)
#define log_error(log, ...) log_write(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_write(log, LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...) log_write(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
