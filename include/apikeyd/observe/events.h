/* events: the last lines of the log, for the status page.
 *
 * A ring of fixed size; the oldest line makes way. The ring holds only what the log holds: above
 * all, no keys. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_EVENTS_H
#define APIKEYD_EVENTS_H

#include <stdint.h>

#include <apikeyd/base/log.h>

enum { EVENTS_MAX = 32, EVENT_TEXT_SIZE = 240 };

struct event_line {
    int64_t at_us; /* since 1970 */
    enum log_level level;
    char text[EVENT_TEXT_SIZE]; /* cut off if longer */
};

struct events {
    struct event_line line[EVENTS_MAX];
    size_t total; /* lines ever added */
};

void events_add(struct events *events, int64_t at_us, enum log_level level, const char *text);

/* Returns the `age`th newest line, counted from 0, or NULL. */
const struct event_line *events_at(const struct events *events, size_t age);

#endif
