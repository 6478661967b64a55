/* storage: the files in which usage outlives the daemon, as they are found at the start.
 *
 * A damaged file is set aside under another name, told about, and never stops the start, nor does
 * one that cannot be used. Another daemon that uses one does. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STORAGE_H
#define APIKEYD_STORAGE_H

#include <apikeyd/base/log.h>
#include <apikeyd/config/config.h>
#include <apikeyd/ledger/ledger.h>
#include <apikeyd/ledger/spill.h>

struct storage {
    struct ledger *ledger;
    struct usage_batch spilled; /* what the spill file held */
    enum spill_state spill;
    struct usage_judged judged; /* in both */
    int spill_lock_fd;          /* -1: none */
};

/* False, with the reason in the log, when the daemon must not start. Close it all the same. */
bool storage_open(struct storage *storage, const struct config *config, const struct log *log);
void storage_close(struct storage *storage);

#endif
