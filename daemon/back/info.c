/* SPDX-License-Identifier: MIT */
#include "apikeyd/info.h"

#include <inttypes.h>
#include <unistd.h>

#include "apikeyd/resp_reply.h"

static struct buffer as_bulk(struct buffer *text)
{
    struct buffer reply = {0};

    resp_bulk(&reply, buffer_held(text));
    buffer_free(text);
    return reply;
}

struct buffer info_reply(const struct info_server *server, const struct counters *counters,
                         const char *section)
{
    struct buffer text = {0};

    if (!section[0] || strcasecmp(section, "server") == 0)
        buffer_printf(&text,
                      "# Server\r\n"
                      "apikeyd_version:%s\r\n"
                      "process_id:%ld\r\n"
                      "uptime_in_seconds:%" PRId64 "\r\n"
                      "loading:0\r\n" /* some clients wait for it before they are ready */
                      "revocation_bound:%s\r\n",
                      APIKEYD_VERSION, (long)getpid(), server->uptime_us / 1000000,
                      server->revocation_bound);
    counters_print_info(counters, section, &text);
    return as_bulk(&text);
}

struct buffer metrics_reply(const struct counters *counters)
{
    struct buffer text = {0};

    counters_print_metrics(counters, &text);
    return as_bulk(&text);
}
