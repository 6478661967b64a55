/* info: the texts of INFO and METRICS. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_INFO_H
#define APIKEYD_INFO_H

#include "apikeyd/counters.h"

struct info_server {
    int64_t uptime_us;
    const char *revocation_bound; /* see link_bound() */
};

/* INFO as a RESP bulk string; `section` "" is all. */
struct buffer info_reply(const struct info_server *server, const struct counters *counters,
                         const char *section);

/* METRICS as a RESP bulk string. */
struct buffer metrics_reply(const struct counters *counters);

#endif
