/* usage_disk: the disk thread's jobs before and after the UPDATEs of a round.
 *
 *     move ─▶ (UPDATEs) ─▶ settle
 *
 * The move sets usage of another store aside, and reads the usage that waited for the owner. The
 * settle writes usage that is still pending to the spill file, and only then empties the ledger's
 * half. After a kill between any two steps, the next start finds all usage in at least one of the
 * files, with its owner.
 *
 * A job owns its fields until it is done; the fields hold the task, and then the result.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_DISK_H
#define APIKEYD_USAGE_DISK_H

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/ledger/spill.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/thread/job_queue.h>

#include "count_writer.h"

enum { MOVE_STORES = 2 };

struct usage_move {
    struct job job;
    char spill[SPILL_PATH_SIZE];
    struct usage_batch batch;           /* pending usage: … */
    struct store_id aside[MOVE_STORES]; /* … set it aside for these; zeros: for none. */
    struct store_id owner, left;        /* for the ledger to note after that */
    bool look;                          /* Then read the usage set aside for `owner`. */

    int aside_error; /* nothing was done after it */
    int look_error;
    struct usage_batch back; /* the usage read */
    struct usage_judged judged;
};

enum spill_order {
    SPILL_LEAVE,
    SPILL_WRITE,
    SPILL_REMOVE,
    SPILL_FORBIDDEN, /* a write is due, but the file is off limits */
};

struct usage_settle {
    struct job job;
    char spill[SPILL_PATH_SIZE];
    enum spill_order order;
    struct usage_batch batch; /* pending usage, with its owner */
    bool drop_aside; /* the batch holds the usage set aside for the owner: remove that file */
    enum count_order counts_order;
    struct buffer counts;         /* the bytes to write to the file of waiting counts */
    char ledger[COUNT_PATH_SIZE]; /* beside which that file is if it cannot be beside the spill file
                                   */
    struct ledger_half *half; /* empty it when the spill file is as ordered; else keep the batch's
                                 keys in it; NULL: it is empty. It stays as it is if counts that are
                                 not written yet are nowhere else. */

    int error;          /* of the order; a file that cannot be removed is no error */
    int counts_error;   /* of that order */
    bool kept;          /* the half holds the batch's keys */
    int64_t spill_size; /* bytes; -1: as before */
};

void usage_move_run(struct job *job);
void usage_settle_run(struct job *job);

#endif
