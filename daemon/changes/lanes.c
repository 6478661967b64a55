/* SPDX-License-Identifier: MIT */
#include "lanes.h"

struct lane *lanes_find(struct lanes *lanes, uint64_t relay)
{
    for (int i = 0; i < LANES_MAX; i++) {
        if (lanes->lane[i].epoch > 0 && lanes->lane[i].relay == relay)
            return &lanes->lane[i];
    }
    for (int i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &lanes->lane[lanes->next++ % LANES_MAX];

        if (!lane->stream.up) {
            *lane = (struct lane){.relay = relay};
            return lane;
        }
    }
    return NULL;
}

enum lane_step lane_take(struct lane *lane, const struct feed_entry *entry)
{
    bool same = entry->epoch == lane->epoch;
    int64_t last = lane->number;

    if (entry->epoch < lane->epoch || (same && entry->number <= last))
        return LANE_OLD;
    lane->epoch = entry->epoch;
    lane->number = entry->number;
    if (!same)
        return LANE_BEGINS;
    return entry->number == last + 1 ? LANE_NEXT : LANE_GAP;
}
