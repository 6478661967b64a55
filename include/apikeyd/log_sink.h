/* log_sink: where log lines go: the journal, with fields, or stderr. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_SINK_H
#define APIKEYD_LOG_SINK_H

#include "apikeyd/log.h"

/* A log to `target`. AUTO is the journal when stderr leads there (systemd.exec(5),
 * $JOURNAL_STREAM). Fields are those of systemd.journal-fields(7), and APIKEYD_MODULE, the source
 * file's name without its ending. Lines that the journal does not take go to stderr. */
struct log log_sink_open(enum log_level level, enum log_target target);

#endif
