/* unannounced: reads unannounced changes, heartbeat by heartbeat.
 *
 * A transaction that changes keys while the notification queue is more than half full is noted in
 * apikeyd.unannounced_change instead. Each heartbeat reads the notes since the last heartbeat that
 * did. A table that cannot be read (locked, missing, no rights) is no reason to give up the
 * session: the heartbeat omits the table, and operators learn that revocations may be missed. Back
 * thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UNANNOUNCED_H
#define APIKEYD_UNANNOUNCED_H

#include "heartbeat_query.h"

struct unannounced {
    char snapshot[SNAPSHOT_SIZE]; /* changes committed by then have been seen; "": none */
    const char
        *unread;   /* why the table is not read now, as a bound (see lease_coverage); or NULL */
    bool readable; /* the session has a short lock timeout */
    bool read;     /* the session's last attempt to read succeeded */
    bool reading;  /* the heartbeat under way reads the table, … */
    bool refused;  /* … or was sent again without, as the table could not be read */
};

/* Returns the `since` for the next heartbeat: NULL, or a pointer into *table. */
const char *unannounced_begin(struct unannounced *table);

/* A heartbeat was refused. True when the heartbeat should be sent again without the table. */
bool unannounced_refused(struct unannounced *table, const PGresult *result);

/* A heartbeat was answered. True when a change may have been missed before it. */
bool unannounced_take(struct unannounced *table, const struct heartbeat *heartbeat);

/* The session is lost: changes noted before the next session begins are not searched for. */
void unannounced_lost(struct unannounced *table);

#endif
