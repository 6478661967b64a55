/* log_json: a log line as a JSON object on a line of its own.
 *
 *     {"time":"2026-11-30T16:00:07.123456Z","level":"warning","subsystem":"postgres",
 *      "message":"postgres (lookups):
 * …","module":"pg_connection","file":"daemon/postgres/pg_connection.c",
 *      "line":211,"function":"give_up"}
 *
 * The object is valid UTF-8 whatever the message holds. It has at most PIPE_BUF bytes, so that one
 * write(2) puts it whole into a pipe that other processes write to as well. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOG_JSON_H
#define APIKEYD_LOG_JSON_H

#include <limits.h>

#include <apikeyd/base/slice.h>
#include <apikeyd/thread/log_writer.h>

enum { LOG_JSON_SIZE = PIPE_BUF };

/* Encode the line, with its newline. Bytes that are no UTF-8 become U+FFFD; a message that leaves
 * no room for the rest is cut. Returns the number of bytes. */
size_t log_json_encode(const struct log_record *record, char out[LOG_JSON_SIZE]);

/* Returns the source file's name without its ending: the journal's APIKEYD_MODULE. */
struct slice log_place_module(const struct log_place *place);

#endif
