/* pg_names: host names of PostgreSQL that have no address now, told once.
 *
 * Each session resolves the names for itself; a name server that is silent is one event all the
 * same. The metric counts those sessions that wait for it; a session may be up by another host of
 * its list. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_NAMES_H
#define APIKEYD_PG_NAMES_H

#include <apikeyd/thread/back_env.h>

/* One more session has a name without an address, and why. */
void pg_names_lost(struct back_env *env, const char *name, const char *why);

/* One of these sessions has an address for each name again. */
void pg_names_found(struct back_env *env);

#endif
