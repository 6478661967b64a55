/* feed_name: the name of the Redis stream by which relays tell sidecars of changes.
 *
 *     <prefix>1:feed/<system identifier>/<database's OID>/<table's OID>+<hash>
 *
 * The hash stands for the table's name and the columns that the triggers look at, so relays and
 * sidecars meet only if they want the same of the triggers. Timeline and start of the server are
 * not in the name: the stream outlives a failover. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FEED_NAME_H
#define APIKEYD_FEED_NAME_H

#include <apikeyd/base/slice.h>
#include <apikeyd/config/config.h>
#include <apikeyd/model/store.h>
#include <apikeyd/schema/schema_inspection.h>

enum { FEED_NAME_SIZE = 256 };

/* Write the name, and return it. */
struct slice feed_name(const struct config *config, const struct schema_inspection *expected,
                       const struct store_id *store, char ret[static FEED_NAME_SIZE]);

#endif
