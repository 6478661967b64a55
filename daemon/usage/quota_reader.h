/* quota_reader: the keys whose uses in this month are to be read from the table of counts.
 *
 * The front thread asks for a key with a quota when it is used. The keys wait in a queue of a fixed
 * size, and go in statements of a few keys, a few a second, so that sums load PostgreSQL no more
 * with many keys than with some: then each sum gets older. The statements go by count_writer's
 * session, when PostgreSQL has all counts of this host that are no longer the front thread's.
 * A statement that fails is sent again later. Until then quotas are judged by the sums from before.
 * Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUOTA_READER_H
#define APIKEYD_QUOTA_READER_H

#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct quota_reader;

/* `on_due`: quota_reader_due() may have become true. NULL when out of memory. */
struct quota_reader *quota_reader_new(struct back_env *env, void (*on_due)(void *arg), void *arg);
void quota_reader_free(struct quota_reader *reader);

/* The front thread asks for a key. One for which there is no room is not answered; the front thread
 * asks again. */
void quota_reader_add(struct quota_reader *reader, const struct row_id *id);

/* Returns whether a statement may be sent now. */
bool quota_reader_due(const struct quota_reader *reader);

/* Set statement and parameters for the store of that mark. */
void quota_reader_bind(struct quota_reader *reader, struct pg_query *query,
                       const struct store_mark *mark);

/* The result has come: tell the front thread. `rounds` of this host's are in the table. Returns
 * whether the statement ran in the store of the mark. */
__attribute__((warn_unused_result)) bool quota_reader_take(struct quota_reader *reader,
                                                           const PGresult *result, uint32_t rounds);

/* The statement has failed: another one is due later. */
void quota_reader_fail(struct quota_reader *reader, const char *why);

/* Returns how many keys wait. */
size_t quota_reader_waiting(const struct quota_reader *reader);

#endif
