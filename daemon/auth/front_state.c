/* SPDX-License-Identifier: MIT */
#include <apikeyd/auth/front_state.h>

#include <stdarg.h>
#include <stdio.h>

#include <apikeyd/clock/clock.h>

/* Tell the back thread of the jump. This thread's freshness takes it into account before the next
 * answer. */
static void note_jump(struct front *front, int64_t now_us, int64_t jump_us)
{
    struct to_back message = {.type = TO_BACK_CLOCK_JUMP};

    freshness_clocks_jumped(&front->freshness, now_us, jump_us);
    message.jump.at_us = now_us;
    message.jump.jump_us = jump_us;
    (void)front_post(front, &message);
    front->bucket.until_us = TIME_NEVER;
}

static void turn_bucket(struct front *front)
{
    front->bucket =
        count_bucket_at((enum usage_counts)front->config->usage_counts,
                        &front->freshness.inputs.reading, front->now_us, front->wall_us);
}

void front_tick(struct front *front)
{
    int64_t now_us = clock_monotonic_us();

    front->wall_us = clock_wall_us();
    int64_t jump_us = clock_jump_look(&front->clocks, now_us, front->wall_us);
    if (jump_us != 0)
        note_jump(front, now_us, jump_us);
    front->now_us = now_us;
    freshness_tick(&front->freshness, now_us);
    if (now_us >= front->bucket.until_us)
        turn_bucket(front);
}

void front_take_freshness(struct front *front, const struct freshness_inputs *inputs)
{
    freshness_follow(&front->freshness, inputs);
    front->bucket.until_us = TIME_NEVER;
    front_tick(front);
}

/* On a busy machine the back thread may be silent for some seconds. A check waits no longer than
 * that, however slow the stores are: the lease ends, and memory's verdicts are served. */
enum { QUIET_MIN_S = 3, QUIET_MAX_S = 5 };

bool front_back_silent(const struct front *front)
{
    int64_t wait_s = (config_wait_max_us(front->config) + 999999) / 1000000;

    return front->quiet_s >= QUIET_MIN_S &&
           (front->quiet_s > wait_s || front->quiet_s >= QUIET_MAX_S);
}

bool front_post(struct front *front, const struct to_back *message)
{
    return mailbox_post(front->to_back, message, sizeof *message);
}

void front_log_line(struct front *front, enum log_level level, const struct log_place *place,
                    const char *format, ...)
{
    struct to_back message = {.type = TO_BACK_LOG};
    va_list args;

    message.line.level = level;
    message.line.place = *place;
    va_start(args, format);
    vsnprintf(message.line.text, sizeof message.line.text, format, args);
    va_end(args);
    front->metrics.value[METRIC_LOG_LINES_DROPPED] += !front_post(front, &message);
}
