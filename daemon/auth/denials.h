/* denials: remembers refused keys, and hands refusals to the back thread, for the audit log
 * (log.denials).
 *
 * Each DENY is a candidate for the log. The front thread copies who asked for which key, formats
 * nothing, and waits for nothing: beyond a rate, or while the back thread has much mail, a refusal
 * is only counted. Front thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DENIALS_H
#define APIKEYD_DENIALS_H

#include <apikeyd/conn/connection.h>
#include <apikeyd/model/mailbox.h>

struct front;

/* Of X-Forwarded-For the last bytes are kept: of a list of proxies a client can write the first
 * ones itself. */
enum { FORWARDED_MAX = sizeof((struct denial *)0)->forwarded };

/* Who asked. */
struct asker {
    const struct connection *connection;
    struct slice forwarded; /* X-Forwarded-For, as the gateway sent it; empty: it did not */
};

static inline struct slice slice_end(struct slice text, size_t max)
{
    size_t len = text.len < max ? text.len : max;

    return (struct slice){text.at ? text.at + text.len - len : NULL, len};
}

void denials_note(struct front *front, const struct digest *digest, const struct verdict *verdict,
                  enum tier tier, const struct asker *asker);

#endif
