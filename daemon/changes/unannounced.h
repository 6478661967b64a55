/* unannounced: reads what could not be notified, heartbeat by heartbeat.
 *
 * A transaction that changes keys while the notification queue is more than half full is noted in
 * apikeyd.unannounced_change instead. Each heartbeat reads what was noted since the last one that
 * did. One that cannot be read (locked, missing, no rights) is no reason to give up the session:
 * the heartbeat goes without it, and it is told that revocations may be missed. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_UNANNOUNCED_H
#define APIKEYD_UNANNOUNCED_H

#include "heartbeat_query.h"

struct unannounced {
    char snapshot[SNAPSHOT_SIZE]; /* what was committed by then has been seen; "": nothing was */
    const char *unread; /* why it is not read now, as a bound (see lease_coverage); or NULL */
    bool readable;      /* the session waits for no lock for long */
    bool read;          /* the session has read it, last time it tried */
    bool reading;       /* the heartbeat under way reads it, … */
    bool refused;       /* … or was sent again, as it could not be read */
};

/* What the next heartbeat is to be given for `since`: NULL, or a pointer into *table. */
const char *unannounced_begin(struct unannounced *table);

/* A heartbeat was refused. True when it is worth sending it again without the table. */
bool unannounced_refused(struct unannounced *table, const PGresult *result);

/* A heartbeat was answered. True when something may have been missed before it. */
bool unannounced_take(struct unannounced *table, const struct heartbeat *heartbeat);

/* The session is lost: what was noted before the next one begins is not looked for. */
void unannounced_lost(struct unannounced *table);

#endif
