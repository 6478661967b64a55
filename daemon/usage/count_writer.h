/* count_writer: brings counts to PostgreSQL, each use once.
 *
 * Counts have a session of their own, so that a usage table that is missing, or locked, holds up
 * neither last_used nor lookups. Batches wait in a list, oldest first; count_batch.h tells what
 * names them.
 *
 *     a half's counts ─▶ waiting ─▶ sent ─▶ added, and kept a minute
 *                        │            │           │
 *                        │            └◀──────────┘ PostgreSQL notes a lower number than it did:
 *                        ▼                          a failover, or a restart, has lost commits
 *                        the file of waiting batches, if PostgreSQL does not take them at once
 *
 * A batch that was sent is sent until PostgreSQL says that its number is noted, by this statement
 * or an earlier one. When no batch waits, the session reads sums for quotas (quota_reader.h): then
 * they have all halves that were taken. The flusher gives the batches, has the file written, and
 * empties a half only when its batch is added or in the file. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_WRITER_H
#define APIKEYD_COUNT_WRITER_H

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/thread/back_env.h>

/* Rows that wait, at most: 112 MiB. The oldest batches are dropped, and counted, beyond that. */
enum { COUNT_ROWS_MAX = 1 << 21 };

struct count_writer;

struct count_writer_setup {
    struct back_env *env;
    struct ledger *ledger;
    struct count_list *found; /* in files, at the start; emptied */
    /* count_writer_busy() may have changed. */
    void (*on_progress)(void *arg);
    /* A half counts this. */
    void (*on_counts)(void *arg, const struct count_batch *batch);
    void *arg;
};

/* NULL when out of memory. */
struct count_writer *count_writer_new(const struct count_writer_setup *setup);
void count_writer_free(struct count_writer *writer);

/* The half's counts, which belong to `owner`, wait from now on. False when out of memory. */
__attribute__((warn_unused_result)) bool count_writer_take(struct count_writer *writer,
                                                           const struct ledger_half *half,
                                                           const struct store_id *owner);

/* The ledger has found a file with counts of another run: these wait too. */
void count_writer_find(struct count_writer *writer);

/* The session for usage leads to the store `owner` and shows this mark there: counts go to it. */
void count_writer_lead(struct count_writer *writer, const struct store_mark *mark,
                       const struct store_id *owner);

/* Returns whether waiting batches are likely to be added within a second. */
bool count_writer_busy(const struct count_writer *writer);

enum count_order { COUNTS_LEAVE, COUNTS_WRITE, COUNTS_REMOVE };

/* Returns what the file of waiting batches needs, and appends its bytes if that is a write. No half
 * may be taken until count_writer_saved(). */
enum count_order count_writer_order(struct count_writer *writer, struct buffer *image);

/* That was done, or not: 0 or -errno. */
void count_writer_saved(struct count_writer *writer, enum count_order order, int error);

/* Returns why counts wait, or NULL. */
const char *count_writer_failure(const struct count_writer *writer);

/* Another daemon uses this ledger's series: returns whether another one is to begin, once. */
bool count_writer_wants_series(struct count_writer *writer);

/* The front thread asks how often a key with a quota was used. */
void count_writer_ask_quota(struct count_writer *writer, const struct row_id *id);

/* Returns how many keys wait for that. */
size_t count_writer_quotas_waiting(const struct count_writer *writer);

size_t count_writer_rows(const struct count_writer *writer);

#endif
