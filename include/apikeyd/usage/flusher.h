/* flusher: brings usage from the ledger to PostgreSQL.
 *
 * A round: swap the ledger's halves, merge the full one into what is pending, write that in
 * chunks, and only then empty the half. Nothing is forgotten before its COMMIT. What remains
 * pending (PostgreSQL does not take it, or somebody else holds the rows) goes to the spill file
 * before the half is emptied; if that fails too, the half stays as it is.
 *
 *     IDLE ─▶ SWAPPING ─▶ MOVING ─▶ WRITING ─▶ SETTLING ─▶ IDLE
 *             front       disk      PostgreSQL disk
 *
 * A disk thread does what a disk can hold up. While a job of it is under way the half, and what is
 * pending, are the job's; meanwhile the front goes on to record in the other half.
 *
 * Usage belongs to the store where lookups are answered, as the ledger and the spill file note.
 * When that becomes another one, it is set aside in a file of the earlier store's own, and comes
 * back when the store does. A session that leads elsewhere than lookups writes nothing.
 * Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FLUSHER_H
#define APIKEYD_FLUSHER_H

#include <apikeyd/ledger/spill.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/back_env.h>

struct flusher;

struct flusher_setup {
    struct back_env *env;
    struct ledger *ledger;
    struct ledger_half *half;   /* the one that the front does not use; may hold entries */
    struct usage_batch spilled; /* from the spill file; owned by the flusher from here on */
    enum spill_state spill;
    void (*on_drained)(void *arg);
    /* Whether the feed's session can take a query now; and send it, unless that is NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *arg;
};

/* NULL when out of memory. */
struct flusher *flusher_new(struct flusher_setup *setup);

/* Waiting FLUSH requests get an error. False: the disk still holds a job up, and the ledger must
 * stay as it is until the process ends. */
bool flusher_free(struct flusher *flusher);

/* Start a round, or another one after the one under way. */
void flusher_start(struct flusher *flusher);

/* The same for a FLUSH request: its reply is the number of rows written. */
void flusher_request(struct flusher *flusher, uint64_t ask);

/* One last round; on_drained is called when it ends, also if it failed. */
void flusher_drain(struct flusher *flusher);

/* PostgreSQL has had its time to drain: what it has not taken goes to the disk. */
void flusher_save(struct flusher *flusher);

/* Log where usage waits that could not be written before the end. */
void flusher_tell_rest(const struct flusher *flusher);

/* Lookups are answered from another store, or another run of its server, than before
 * (`stores.home`); the front does not know yet. */
void flusher_home_changed(struct flusher *flusher);

/* The front thread has handed its half over. */
void flusher_swapped(struct flusher *flusher, struct ledger_half *half);

/* The configuration has changed. */
void flusher_configure(struct flusher *flusher);

/* The feed's session can be used from now on, or no longer; it has nothing to do now. */
void flusher_feed_is(struct flusher *flusher, bool usable);
void flusher_feed_idle(struct flusher *flusher);

/* Keys pending here, the front's half not counted. */
size_t flusher_pending(const struct flusher *flusher);

/* Set the gauges of usage; USAGE_PENDING holds what waits in the front's half. */
void flusher_look(const struct flusher *flusher, struct metrics *metrics);

/* When the key was last used, as far as pending here, or 0. */
int64_t flusher_pending_last_used(const struct flusher *flusher, const struct uuid *api_key_id);

#endif
