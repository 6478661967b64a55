/* pg_names: logs once that PostgreSQL host names have no address.
 *
 * Each session resolves the names for itself, but a silent name server is only one event. The
 * metric counts the sessions with an unresolved name; such a session may be up by another host of
 * its list. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_NAMES_H
#define APIKEYD_PG_NAMES_H

#include <apikeyd/thread/back_env.h>

/* One more session has a name without an address, for the reason `why`. */
void pg_names_lost(struct back_env *env, const char *name, const char *why);

/* One of these sessions has an address for each name again. */
void pg_names_found(struct back_env *env);

#endif
