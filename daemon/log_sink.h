/* log_sink: writes log lines: to the journal, with fields, as text to stderr, or as JSON. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_SINK_H
#define APIKEYD_LOG_SINK_H

#include <apikeyd/thread/log_writer.h>

/* Returns the function that writes a line to `target`. AUTO is the journal when stderr leads there
 * (systemd.exec(5), $JOURNAL_STREAM). Fields are those of systemd.journal-fields(7), and
 * APIKEYD_MODULE, the source file's name without its ending. A line that the journal rejects goes
 * to stderr. JSON never goes to the journal: AUTO is stdout then. All may block for as long as the
 * reader of the log stands still. */
log_output *log_sink_output(enum log_target target, enum log_format format);

#endif
