/* redis_url: where Redis is.
 *
 * unix:///path[?db=N] or redis://[user@]host[:port][/db]. Passwords come from a file. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_URL_H
#define APIKEYD_REDIS_URL_H

#include <stdbool.h>

struct redis_url {
    char path[108]; /* of a Unix socket, as sockaddr_un has it; empty for TCP */
    char host[256];
    int port;
    char user[128]; /* empty: the default user */
    int db;
};

/* False when `text` is not of this form. */
bool redis_url_parse(const char *text, struct redis_url *ret);

#endif
