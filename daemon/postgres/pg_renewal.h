/* pg_renewal: makes the session that is to take a live one's place.
 *
 *     attempt to connect ─▶ prelude, a statement ─▶ done(arg, session)
 *                   └──────────────┴─ failure ────▶ done(arg, NULL)
 *
 * The live session goes on meanwhile, so a failure costs nothing. One try, within ten seconds once
 * names are resolved: the owner decides about the next. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_RENEWAL_H
#define APIKEYD_PG_RENEWAL_H

#include <libpq-fe.h>

#include <event2/event.h>

struct pg_renewal;

struct pg_renewal_setup {
    struct event_base *base;
    const char *dsn;     /* copied */
    unsigned turn;       /* as for pg_attempt_start() */
    const char *prelude; /* lives forever; NULL: none */
    /* Called once, later. The receiver owns `pg`, which is idle; NULL: no session, for the reason
     * `why`; `password_file` is as in pg_attempt_result. The renewal is freed by then. */
    void (*done)(void *arg, PGconn *pg, const char *why, const char *password_file);
    void *arg;
};

/* NULL when it cannot be made now: `done` is not called. */
__attribute__((warn_unused_result)) struct pg_renewal *
pg_renewal_start(const struct pg_renewal_setup *setup);

/* `done` will not be called any more. NULL: nothing is done. */
void pg_renewal_cancel(struct pg_renewal *renewal);

#endif
