/* log_writer: writes log lines in a thread of its own, so a log that stands still stalls nothing.
 *
 *     any thread ──▶ pipe, 1 MiB ──▶ thread "apikeyd-log" ──▶ stderr, stdout or the journal
 *
 * The pipe is the queue: the kernel keeps a line whole, and refuses at once a line that has no
 * room. Such a line is lost and counted, and the log says how many lines were lost when the reader
 * continues. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_WRITER_H
#define APIKEYD_LOG_WRITER_H

#include <stdint.h>

#include <apikeyd/base/log.h>

struct log_writer;

/* A line on its way. */
struct log_record {
    int64_t at_us; /* when it was logged, since 1970 */
    enum log_level level;
    struct log_place place;
    const char *line; /* without its end */
};

/* Write the line, however long that takes. False: the line is lost. Called in the log thread
 * only. */
typedef bool log_output(const struct log_record *record);

/* Start the thread. Returns 0 or -errno. */
__attribute__((warn_unused_result)) int log_writer_start(log_output *output,
                                                         struct log_writer **ret_writer);

/* A log whose lines go to `writer`, which must outlive the log. Any thread may use it; it never
 * blocks. */
struct log log_writer_log(struct log_writer *writer, enum log_level level);

/* Return the number of lines queued, and of lines lost (no room, or `output` could not write them).
 * Any thread. */
uint64_t log_writer_queued(const struct log_writer *writer);
uint64_t log_writer_dropped(const struct log_writer *writer);

/* Wait until every line is written, for `timeout_us` at most. Safe in a signal handler. */
void log_writer_flush(const struct log_writer *writer, int64_t timeout_us);

/* Write the queued lines, and end the thread, within `timeout_us`. If the log stands still for
 * longer, the thread and its memory stay until the process ends. NULL does nothing. No other thread
 * may use the log any more. */
void log_writer_stop(struct log_writer *writer, int64_t timeout_us);

#endif
