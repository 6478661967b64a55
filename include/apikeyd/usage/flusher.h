/* flusher: brings usage from the ledger to PostgreSQL.
 *
 * A round swaps the ledger's halves, merges the full one into pending usage, writes that in chunks,
 * and only then empties the half. No usage is forgotten before its COMMIT. Usage that remains
 * pending (PostgreSQL does not take it, or another session holds the rows) goes to the spill file
 * before the half is emptied; if that fails too, the half stays as it is.
 *
 *     IDLE ─▶ SWAPPING ─▶ MOVING ─▶ WRITING ─▶ COUNTING ─▶ SETTLING ─▶ IDLE
 *             front       disk      PostgreSQL PostgreSQL  disk
 *
 * The disk thread does all work that a disk can hold up. While a job is under way, the job owns the
 * half and pending usage; the front thread records in the other half meanwhile.
 *
 * With usage.counts the half's counts go to count_writer at the swap, which writes them by a
 * session of its own. A half is emptied when its counts are in PostgreSQL, or in a file.
 *
 * Usage belongs to the store where lookups are answered; the ledger and the spill file name it.
 * When another store answers, the usage is set aside in a file of the earlier store's own, and
 * comes back when that store does. A session that leads to another store than the lookups writes
 * nothing. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FLUSHER_H
#define APIKEYD_FLUSHER_H

#include <apikeyd/ledger/count_batch.h>
#include <apikeyd/ledger/spill.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct flusher;

struct flusher_setup {
    struct back_env *env;
    struct ledger *ledger;
    struct ledger_half *half;   /* not in use by the front; may hold entries */
    struct usage_batch spilled; /* from the spill file; owned by the flusher from here on */
    struct count_list *counts;  /* that wait, from files; the flusher empties the list */
    enum spill_state spill;
    void (*on_drained)(void *arg);
    /* What was counted since the last round: rows of each key together. */
    void (*on_counts)(void *arg, const struct count_row *rows, size_t len);
    /* Returns whether the feed's session can take a query now. Sends `query` if so, unless it is
     * NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *arg;
};

/* NULL when out of memory. */
struct flusher *flusher_new(struct flusher_setup *setup);

/* Waiting FLUSH requests get an error. False: a disk still holds a job up, and the ledger must stay
 * as it is until the process ends. */
bool flusher_free(struct flusher *flusher);

/* Start a round, or another one after the one under way. */
void flusher_start(struct flusher *flusher);

/* As flusher_start(), for a FLUSH request: its reply is the number of rows written. */
void flusher_request(struct flusher *flusher, uint64_t ask);

/* One last round; on_drained is called when it ends, also if it failed. */
void flusher_drain(struct flusher *flusher);

/* PostgreSQL's time for the drain is over: usage that it has not taken goes to the disk. */
void flusher_save(struct flusher *flusher);

/* Log where unwritten usage waits at the end. */
void flusher_tell_rest(const struct flusher *flusher);

/* Lookups are answered from another store, or another run of its server, than before
 * (`stores.home`); the front does not know yet. */
void flusher_home_changed(struct flusher *flusher);

/* The front thread has handed its half over. */
void flusher_swapped(struct flusher *flusher, struct ledger_half *half);

/* The front thread asks how often a key with a quota was used in this month. */
void flusher_ask_quota(struct flusher *flusher, const struct row_id *api_key_id);

/* The configuration has changed. */
void flusher_configure(struct flusher *flusher);

/* The feed's session can be used from now on, or no longer; it has nothing to do now. */
void flusher_feed_is(struct flusher *flusher, bool usable);
void flusher_feed_idle(struct flusher *flusher);

/* Returns the number of keys pending here, without the front's half. */
size_t flusher_pending(const struct flusher *flusher);

/* Set the gauges of usage. On entry USAGE_PENDING holds the keys in the front's half. */
void flusher_look(const struct flusher *flusher, struct metrics *metrics);

/* Returns when the key was last used, by usage pending here, or 0. */
int64_t flusher_pending_last_used(const struct flusher *flusher, const struct row_id *api_key_id);

#endif
