/* SPDX-License-Identifier: MIT */
#include "front_state.h"

#include <stdarg.h>
#include <stdio.h>

#include "apikeyd/clock.h"

void front_tick(struct front *front)
{
    front->wall_us = clock_wall_us();
    front->trust = trust_at(&front->policy, &front->grounds, clock_monotonic_us());
}

/* Messages that may go missing on a busy machine before silence means anything. */
enum { QUIET_LEAST_S = 3 };

bool front_back_silent(const struct front *front)
{
    int64_t wait_s = (config_wait_max_us(front->config) + 999999) / 1000000;

    return front->quiet_s >= QUIET_LEAST_S && front->quiet_s > wait_s;
}

bool front_post(struct front *front, const struct to_back *message)
{
    return mailbox_post(front->to_back, message, sizeof *message);
}

void front_log(struct front *front, enum log_level level, const char *format, ...)
{
    struct to_back message = {.type = TO_BACK_LOG};
    va_list args;

    message.line.level = level;
    va_start(args, format);
    vsnprintf(message.line.text, sizeof message.line.text, format, args);
    va_end(args);
    front->metrics.value[METRIC_LOG_LINES_DROPPED] += !front_post(front, &message);
}
