/* SPDX-License-Identifier: MIT */
#include "denials.h"

#include <apikeyd/auth/front_state.h>

enum { SECOND_US = 1000000 };

/* Refusals a second that are handed over: docs/reference.md has them too. */
static unsigned rate_max(const struct front *front)
{
    static const unsigned rate[] = {
        [LOG_DENIALS_SUMMARY] = 0,
        [LOG_DENIALS_SAMPLED] = 10,
        [LOG_DENIALS_ALL] = 200,
        [LOG_DENIALS_OFF] = 0,
    };

    return rate[front->config->log_denials];
}

static void hand_over(struct front *front, const struct digest *digest, enum verdict_kind kind,
                      enum tier tier, const struct asker *asker)
{
    unsigned max = rate_max(front);

    if (max == 0)
        return;
    if (front->now_us - front->denials.since_us >= SECOND_US) {
        front->denials.since_us = front->now_us;
        front->denials.count = 0;
    }
    struct to_back message = {.type = TO_BACK_DENIAL};
    message.denial.digest = *digest;
    message.denial.kind = kind;
    message.denial.tier = tier;
    message.denial.pid = asker->connection->peer.pid;
    message.denial.uid = asker->connection->peer.uid;
    struct slice forwarded = slice_end(asker->forwarded, FORWARDED_MAX);
    if (forwarded.at)
        memcpy(message.denial.forwarded, forwarded.at, forwarded.len);
    message.denial.forwarded_len = (uint8_t)forwarded.len;
    if (front->denials.count < max && mailbox_post_minor(front->to_back, &message, sizeof message))
        front->denials.count++;
    else
        front->metrics.value[METRIC_DENIALS_UNLOGGED]++;
}

void denials_note(struct front *front, const struct digest *digest, const struct verdict *verdict,
                  enum tier tier, const struct asker *asker)
{
    /* A key that is early has not begun: who sends it is not late. */
    if (verdict->kind == VERDICT_DENY_INACTIVE || verdict->kind == VERDICT_DENY_EXPIRED)
        refused_keys_note(front->refused, digest, verdict, front->wall_us);
    hand_over(front, digest, verdict->kind, tier, asker);
}
