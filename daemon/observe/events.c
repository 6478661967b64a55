/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/events.h>

#include <stdio.h>

void events_add(struct events *events, int64_t at_us, enum log_level level, const char *text)
{
    struct event_line *line = &events->line[events->total++ % EVENTS_MAX];

    line->at_us = at_us;
    line->level = level;
    snprintf(line->text, sizeof line->text, "%s", text);
}

const struct event_line *events_at(const struct events *events, size_t age)
{
    if (age >= events->total || age >= EVENTS_MAX)
        return NULL;
    return &events->line[(events->total - 1 - age) % EVENTS_MAX];
}
