/* storage: opens the files in which usage outlives the daemon, at the start.
 *
 * A damaged file is renamed and logged, and does not stop the start, nor does an unusable file. The
 * start fails only when another daemon uses a file. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STORAGE_H
#define APIKEYD_STORAGE_H

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/ledger/count_batch.h>
#include <apikeyd/ledger/ledger.h>
#include <apikeyd/ledger/spill.h>

struct storage {
    struct ledger *ledger;
    struct usage_batch spilled; /* usage from the spill file */
    struct count_list counts;   /* that wait in files; oldest first */
    enum spill_state spill;
    struct usage_judged judged; /* in both files */
    int spill_lock_fd;          /* -1: none */
};

/* False, with the reason in the log, when the daemon must not start. Call storage_close() all the
 * same. */
bool storage_open(struct storage *storage, const struct config *config, const struct log *log);
void storage_close(struct storage *storage);

#endif
