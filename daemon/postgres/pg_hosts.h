/* pg_hosts: the addresses of a connection string's hosts.
 *
 * libpq resolves names with getaddrinfo() as it comes to each host, in PQconnectPoll() too. Given
 * `hostaddr` it does not; `host` stays for TLS and the password file. The hosts are those that
 * libpq itself would use: from the connection string, its service, or the environment. Nothing is
 * remembered from one attempt to the next: getaddrinfo() reads /etc/hosts each time, and
 * resolv.conf when it has changed. Thread: any, as reading a service and resolving may block. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_HOSTS_H
#define APIKEYD_PG_HOSTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include <apikeyd/base/buffer.h>

struct pg_hosts {
    /* Comma lists of equal length, NUL-terminated, an entry an address. Where there is none (count
     * 0) and nothing is unresolved, libpq has to say what is wrong with the connection string. */
    struct buffer host, hostaddr, port;
    size_t count;
    struct buffer names;             /* what the pointers below point into */
    _Atomic(const char *) resolving; /* the name that is being resolved, or NULL: for any thread */
    const char *unresolved;          /* the last name that has no address now, or NULL; … */
    char why[128];                   /* … and why */
};

/* Find the addresses; *hosts is all zero before. Blocks. */
void pg_hosts_resolve(struct pg_hosts *hosts, const char *dsn);

/* Let another address come first, so that one that does not answer does not hide the others. */
void pg_hosts_rotate(struct pg_hosts *hosts);

void pg_hosts_free(struct pg_hosts *hosts);

#endif
