/* log: what operators are told.
 *
 * Lower layers return errors; the layer that knows what one means for the user logs it. A key ID
 * is never logged: use digest_fingerprint(). Writing may block, so only the back thread (and
 * start-up) writes; the front thread sends its lines over. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_H
#define APIKEYD_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_AUTO, LOG_TARGET_JOURNAL, LOG_TARGET_STDERR };

struct log {
    enum log_level level;
    bool prefix; /* sd-daemon(3) level prefixes, which the journal reads from stderr */
};

/* AUTO is journal when stderr is connected to it (JOURNAL_STREAM). */
void log_init(struct log *log, enum log_level level, enum log_target target);

__attribute__((format(printf, 3, 4))) void log_write(const struct log *log, enum log_level level,
                                                     const char *format, ...);

#define log_error(log, ...) log_write(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_write(log, LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...) log_write(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
