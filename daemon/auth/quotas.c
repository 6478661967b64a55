/* SPDX-License-Identifier: MIT */
#include "quotas.h"

#include <apikeyd/auth/front_state.h>

/* The mailbox has little room for these. A key that finds none asks at its next use. */
static void ask(struct front *front, struct quota_uses *uses, uint32_t now_s)
{
    struct to_back message = {.type = TO_BACK_QUOTA, .quota_of = uses->id};

    if (mailbox_post_minor(front->to_back, &message, sizeof message))
        quota_uses_asked(uses, now_s);
}

struct quota_told quotas_use(struct front *front, const struct row_id *api_key_id, uint64_t quota)
{
    struct quota_uses *uses =
        quota_book_get(front->quotas, api_key_id, front->bucket.month, front->usage_rounds);
    struct quota_told told = {quota, uses->uses + 1, uses->known, uses->uses >= quota};

    if (__builtin_expect(quota_uses_stale(uses), 0)) {
        uint32_t now_s = (uint32_t)(front->now_us / 1000000);

        if (quota_uses_due(uses, now_s))
            ask(front, uses, now_s);
    }
    quota_uses_count(uses);
    front->metrics.value[METRIC_OVER_QUOTA] += told.over;
    return told;
}
