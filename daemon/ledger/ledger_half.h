/* ledger_half: slots that are appended to; what the ledger's parts need of a half beside its verbs
 * in apikeyd/ledger.h. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_HALF_H
#define APIKEYD_LEDGER_HALF_H

#include <apikeyd/ledger/ledger.h>

enum {
    HALF_SLOTS = 1 << 24, /* 512 MiB of a sparse file: 16 M keys used between two flushes */
    GROW_SLOTS = 1 << 14, /* 512 KiB at a time: the front thread waits for this */
};

/* Have the file system promise room for one step more, so that storing into it cannot fault. */
bool ledger_half_reserve(struct ledger_half *half);

/* Return empty slots to the system. */
bool ledger_half_punch(const struct ledger_half *half, uint32_t from, uint32_t slots);

#endif
