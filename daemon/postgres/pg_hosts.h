/* pg_hosts: the addresses of a connection string's hosts.
 *
 * libpq resolves the name of each host with getaddrinfo(), also in PQconnectPoll(). With `hostaddr`
 * libpq does not resolve; `host` stays for TLS and the password file. The hosts are those that
 * libpq itself would use: from the connection string, its service, or the environment. No attempt
 * remembers results of the last one: getaddrinfo() reads /etc/hosts each time, and resolv.conf when
 * it has changed. Thread: any; never the event loop's, because service files and names may
 * block. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_HOSTS_H
#define APIKEYD_PG_HOSTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include <apikeyd/base/buffer.h>

struct pg_hosts {
    /* Comma lists of equal length, NUL-terminated, one entry per address. If there is no address
     * (count 0) and no name is unresolved, libpq reports the fault of the connection string. */
    struct buffer host, hostaddr, port;
    size_t count;
    struct buffer password_file;     /* the named one, NUL-terminated; "": libpq's default */
    struct buffer names;             /* memory of the names below */
    _Atomic(const char *) resolving; /* the name being resolved, or NULL; any thread may read it */
    const char *unresolved;          /* the last name that has no address now, or NULL; … */
    char why[128];                   /* … and why */
};

/* Find the addresses; *hosts must be all zeros. Blocks. */
void pg_hosts_resolve(struct pg_hosts *hosts, const char *dsn);

/* Move another address to the front, so that an address that does not answer does not hide the
 * others. */
void pg_hosts_rotate(struct pg_hosts *hosts);

void pg_hosts_free(struct pg_hosts *hosts);

#endif
