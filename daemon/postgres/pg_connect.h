/* pg_connect: starts an attempt to connect to PostgreSQL beside the event loop.
 *
 * A worker resolves the names of the hosts, reads the files that libpq needs first (service file,
 * password file), and has libpq begin. The loop then polls the connection. That cannot block,
 * because libpq knows an address for each host. All files are read again for each attempt, so a
 * password that has been changed is used by the next one. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_CONNECT_H
#define APIKEYD_PG_CONNECT_H

#include <event2/event.h>
#include <libpq-fe.h>

struct pg_attempt;

struct pg_attempt_result {
    PGconn *pg; /* from PQconnectStartParams(), owned by the receiver; NULL: there is no address */
    const char *unresolved;    /* a name without an address, or NULL; others may have one */
    const char *why;           /* … and why, or that the process is out of memory */
    const char *password_file; /* the password file and why it has no password for libpq, or NULL */
};

/* Before 15, changes that logical replication applies may not be notified, and nothing is tried. */
enum { SERVER_VERSION_MIN = 150000 };

/* Start an attempt. The first `turn` addresses go to the end of the list, so that another one comes
 * first. Returns the attempt, or NULL when it cannot be made now; `done` is called once, later. */
__attribute__((warn_unused_result)) struct pg_attempt *
pg_attempt_start(struct event_base *base, const char *dsn, unsigned turn,
                 void (*done)(void *arg, const struct pg_attempt_result *result), void *arg);

/* Returns the name that is being resolved now, or NULL. Lives as long as the attempt. */
const char *pg_attempt_resolving(struct pg_attempt *attempt);

/* `done` will not be called any more. */
void pg_attempt_cancel(struct pg_attempt *attempt);

#endif
