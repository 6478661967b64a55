/* redis_url: the address of Redis, and the user to log in as.
 *
 *     unix://[user:password@]/path[?db=N]
 *     redis://[[user]:password@]host[:port][/db]
 *     redis+sentinel://[[user]:password@]host[:port],…/master[?db=N]
 *
 * With rediss by TLS. User and password are Redis's, and percent-encoded (RFC 3986, section 2.1).
 * The password may be in a file instead. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_URL_H
#define APIKEYD_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

enum { REDIS_URL_HOSTS_MAX = 8 };

struct redis_host {
    char name[256]; /* or an address */
    int port;
};

struct redis_url {
    char path[108];                              /* of a Unix socket (unix(7)); empty for TCP */
    struct redis_host host[REDIS_URL_HOSTS_MAX]; /* Redis's, or that of each sentinel */
    size_t hosts;
    char master[128]; /* the sentinels' name for Redis; empty: no sentinels */
    bool tls;
    char user[128];     /* empty: the default user */
    char password[512]; /* empty: the URL has none */
    int db;
};

/* False when `text` is not of this form. */
bool redis_url_parse(const char *text, struct redis_url *ret);

/* Returns NULL, or the expected form when `text` has another one. The message does not quote
 * `text`. */
const char *redis_url_wrong(const char *text);

#endif
