/* log_hooks: the log for callbacks that get no argument.
 *
 * libevent prints its warnings to stderr, and abort(3) ends the process with lines still queued.
 * Both hooks call a function without an argument, so this one place knows the process's log
 * writer. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_HOOKS_H
#define APIKEYD_LOG_HOOKS_H

#include <apikeyd/thread/log_writer.h>

/* The longest wait, at the end of the process, for a log that stands still. */
enum { LOG_FLUSH_US = 1000000 };

/* From now on libevent's messages up to `level` go to the log, from every thread. SIGABRT (from
 * abort(3), or from systemd's watchdog) ends the process only after the lines before it are
 * written, or LOG_FLUSH_US have passed. `writer` must live until log_hooks_remove(). Call it in the
 * first thread, before there are others that use libevent. */
void log_hooks_install(struct log_writer *writer, enum log_level level);

/* No other thread may use libevent any more. */
void log_hooks_remove(void);

#endif
