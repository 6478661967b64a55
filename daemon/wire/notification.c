/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/notification.h>

/* " <time>" or nothing. */
static bool parse_time(struct slice text, int64_t *ret_us)
{
    *ret_us = 0;
    if (text.len == 0)
        return true;
    return text.at[0] == ' ' && slice_number((struct slice){text.at + 1, text.len - 1}, ret_us);
}

bool notification_parse(struct slice payload, struct notification *ret)
{
    enum { HEX_LEN = DIGEST_HEX_SIZE - 1 };
    struct notification found = {.all = payload.len > 0 && payload.at[0] == '*'};
    size_t len = found.all ? 1 : HEX_LEN;

    if (payload.len < len || (!found.all && !digest_from_hex(payload.at, &found.digest)) ||
        !parse_time((struct slice){payload.at + len, payload.len - len}, &found.server_us))
        return false;
    *ret = found;
    return true;
}
