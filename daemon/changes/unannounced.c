/* SPDX-License-Identifier: MIT */
#include "unannounced.h"

#include <string.h>

#define UNREAD "cache.ttl: apikeyd.unannounced_change cannot be read: "

const char *unannounced_begin(struct unannounced *table)
{
    table->reading = table->readable && table->snapshot[0] && !table->refused;
    return table->reading ? table->snapshot : NULL;
}

/* lock_not_available and insufficient_privilege have a word of their own. */
static const char *reason(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (state && strcmp(state, "55P03") == 0)
        return UNREAD "it is locked";
    if (state && strcmp(state, "42501") == 0)
        return UNREAD "permission denied";
    return UNREAD "the log says why";
}

bool unannounced_refused(struct unannounced *table, const PGresult *result)
{
    if (!table->reading)
        return false;
    table->unread = reason(result);
    table->read = false;
    table->refused = true;
    return true;
}

bool unannounced_take(struct unannounced *table, const struct heartbeat *heartbeat)
{
    bool was_unread = table->unread != NULL;
    bool refused = table->refused;

    table->refused = false;
    if (!heartbeat->has_unannounced) {
        table->unread = UNREAD "it is missing, or its owner or rights are wrong";
        table->snapshot[0] = '\0';
        table->read = false;
        return false;
    }
    if (refused)
        return false;
    memcpy(table->snapshot, heartbeat->snapshot, sizeof table->snapshot);
    if (table->reading) {
        table->unread = NULL;
        table->read = true;
    }
    return was_unread && !table->unread;
}

void unannounced_lost(struct unannounced *table)
{
    table->snapshot[0] = '\0';
    table->readable = table->read = table->reading = table->refused = false;
}
