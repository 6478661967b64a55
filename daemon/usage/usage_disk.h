/* usage_disk: what the disk thread does with usage, as jobs around the writing of a round.
 *
 *     move ─▶ (UPDATEs) ─▶ settle
 *
 * Before it, usage of another store is set aside, and what waited for the owner is read. After it,
 * what is still pending is in the spill file, and only then the ledger's half is emptied. A daemon
 * that is killed between any two steps finds, at its next start, all usage in at least one of the
 * files, and who owned it.
 *
 * A job's fields are its own until it is done; they say what to do, and then how it went.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_DISK_H
#define APIKEYD_USAGE_DISK_H

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/ledger/spill.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/thread/job_queue.h>

enum { MOVE_STORES = 2 };

struct usage_move {
    struct job job;
    char spill[SPILL_PATH_SIZE];
    struct usage_batch batch;           /* what is pending: … */
    struct store_id aside[MOVE_STORES]; /* … set it aside for these; zeros: for none. */
    struct store_id owner, left;        /* what the ledger is to note when that is done */
    bool look;                          /* Then read what was set aside for `owner`. */

    int aside_error; /* nothing came after it */
    int look_error;
    struct usage_batch back; /* what was read */
    struct usage_judged judged;
};

enum spill_order {
    SPILL_LEAVE,
    SPILL_WRITE,
    SPILL_REMOVE,
    SPILL_FORBIDDEN, /* it should be written, but the file is off limits */
};

struct usage_settle {
    struct job job;
    char spill[SPILL_PATH_SIZE];
    enum spill_order order;
    struct usage_batch batch; /* what is pending, with its owner */
    bool drop_aside;          /* it holds what was set aside for the owner: remove that file */
    struct ledger_half *half; /* empty it when the spill file is as ordered; else have it keep the
                                 batch's keys; NULL: it is empty */

    int error;          /* of the order; that a file cannot be removed keeps nothing back */
    bool kept;          /* the half holds the batch's keys */
    int64_t spill_size; /* bytes; -1: as before */
};

void usage_move_run(struct job *job);
void usage_settle_run(struct job *job);

#endif
