/* pg_hosts: resolve a connection string's host names without blocking.
 *
 * libpq resolves names with getaddrinfo(), which blocks. Given `hostaddr` it does not; `host`
 * stays for TLS and pgpass. Names come from the connection string or PGHOST; names that only a
 * service file knows are left to libpq. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_HOSTS_H
#define APIKEYD_PG_HOSTS_H

#include <event2/dns.h>

#include "apikeyd/buffer.h"

/* Comma lists of equal length, one entry an address. Empty (len 0) where nothing was resolved:
 * the connection string is then used as it is. NUL-terminated otherwise. */
struct pg_hosts {
    struct buffer host, hostaddr, port;
};

/* Let another host come first, so that one that does not answer does not hide the others. */
void pg_hosts_rotate(struct pg_hosts *hosts);

struct pg_hosts_request;

/* `done` is called once, perhaps before this returns: with the hosts, or with a reason why there
 * are none. The hosts are freed after the call. Returns the request for pg_hosts_cancel(), or
 * NULL when `done` was called already. */
struct pg_hosts_request *
pg_hosts_resolve(struct evdns_base *dns, const char *dsn,
                 void (*done)(void *arg, struct pg_hosts *hosts, const char *why), void *arg);

/* `done` will not be called any more. */
void pg_hosts_cancel(struct pg_hosts_request *request);

#endif
