/* ledger_report: how a ledger's file was opened, and its state. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_REPORT_H
#define APIKEYD_LEDGER_REPORT_H

#include <stdbool.h>

#include <apikeyd/ledger/usage_batch.h>

struct ledger_report {
    int error;             /* no file, because of this -errno: usage is kept in memory */
    bool set_aside;        /* a damaged file was found and renamed … */
    char aside_path[4096]; /* … to this */
    const char *damage;    /* the damage, as text */
    bool unread;           /* the file that was set aside is whole, but of another type of IDs */
    bool on_disk;          /* the file is not on tmpfs: stores may stall */
    struct usage_judged judged;
    int counts_error; /* the file of waiting batches beside the ledger: cannot be read or written */
};

enum ledger_state {
    LEDGER_SAFE,     /* usage outlives a killed daemon */
    LEDGER_CROWDED,  /* some usage does not: the file system has no room */
    LEDGER_NAMELESS, /* the file was removed, renamed or replaced: no other daemon would find it */
    LEDGER_BROKEN,   /* the file was cut short or written to, and entries may be lost */
    LEDGER_MEMORY,   /* there is no file */
};

#endif
