/* notification: a change that the database announces.
 *
 *     <digest, 32 hex digits> <time>     one key
 *     * <time>                           any key
 *
 * This is the payload of a NOTIFY on the channel below, sent by the trigger in migrations/. The
 * time is PostgreSQL's clock when the change was made, in microseconds since 1970; 0 when the
 * payload has none, as in a NOTIFY by hand.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_NOTIFICATION_H
#define APIKEYD_NOTIFICATION_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/digest.h>

#define NOTIFICATION_CHANNEL "apikeyd_key"

struct notification {
    bool all;
    struct digest digest; /* unless all */
    int64_t server_us;    /* 0: not told */
};

/* False, leaving *ret alone, when the payload is malformed. */
bool notification_parse(struct slice payload, struct notification *ret);

#endif
