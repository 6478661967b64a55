/* ledger: the last_used times that are not in PostgreSQL yet, safe from SIGKILL.
 *
 * A file on tmpfs, mapped, in two halves. The front thread appends to one half while the back
 * thread drains the other; a half changes hands by message, so each has one owner at any time.
 *
 *     0          4 KiB                                 4 KiB + half                    end
 *     | header   | half 0: slots, then zeros           | half 1: slots, then zeros     |
 *
 * A half is not a hash table. The cached verdict remembers the slot of its key (the hint), and the
 * slot names its key. A key whose hint is wrong gets another slot: the drain merges duplicates by
 * maximum. So recording touches one cache line, and growth only reserves more of the (sparse) file:
 * nothing ever moves. A slot counts once its last_used is not zero; last_used is stored last, so a
 * process killed at any instruction leaves only whole slots.
 *
 * A fault of the ledger never stops authentication. Without a usable file the halves are in memory.
 * If the file system has no room, the rest of a half is in memory. A file that is cut short does
 * not kill the daemon (ledger_map). The back thread watches the file, and replaces it at a swap of
 * halves:
 *
 *     file in use ── lost, damaged, memory ──▶ ledger_renew(): a new file is at hand
 *          ▲                                          │ its half 0 goes to the front thread
 *          └──── ledger_succeed(): the old one's ◀────┘ and the old half comes back
 *                entries are in the new one's half 1
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_H
#define APIKEYD_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include <apikeyd/ledger/count_batch.h>
#include <apikeyd/ledger/ledger_half.h>
#include <apikeyd/ledger/ledger_report.h>
#include <apikeyd/ledger/usage_batch.h>

struct ledger;

/* Open or create the ledger at `path`, for IDs of that type, and take its lock. `series` is what
 * the halves of this run are numbered in, an id that no other run has; zeros: uses are not counted.
 * What was counted in the file becomes batches of its series (ledger_take_counts()), which are
 * written to a file beside the ledger before the halves forget them. A damaged file is renamed,
 * never deleted; whole slots found in it go into the new file. A file for IDs of another type is
 * renamed too, and not read. Without a usable file the ledger is in memory, and the report says
 * why. Returns 0, -EWOULDBLOCK when another daemon holds the lock, or -ENOMEM. `now_us` is wall
 * time: slots with a later time count as used now. */
__attribute__((warn_unused_result)) int ledger_open(const char *path, enum id_type type,
                                                    const struct series_id *series, int64_t now_us,
                                                    struct ledger **ret,
                                                    struct ledger_report *ret_report);

/* Unmap and unlock. The entries stay in the file. */
void ledger_close(struct ledger *ledger);

/* The store that the usage belongs to; zeros: not known yet. */
const struct store_id *ledger_owner(const struct ledger *ledger);

/* The owner before, while the ledger may still hold usage of it; zeros: none. */
const struct store_id *ledger_left(const struct ledger *ledger);

/* Note both, in one write. 0 or -errno. One thread at a time. */
__attribute__((warn_unused_result)) int
ledger_set_owner(struct ledger *ledger, const struct store_id *owner, const struct store_id *left);

/* Move all entries found in the file to half 1, so that the front thread begins with an empty half
 * 0. Call before there are two threads. */
void ledger_gather(struct ledger *ledger);

/* Move batches that were found in files since the last call to the end of the list. */
void ledger_take_counts(struct ledger *ledger, struct count_list *list);

/* Number an empty half, or one that only holds what is counted elsewhere, before the front thread
 * gets it. 0 or -errno. Does nothing while uses are not counted. Half 0 of a ledger that was
 * opened, or of a file at hand, has its number. */
__attribute__((warn_unused_result)) int ledger_give(struct ledger *ledger,
                                                    struct ledger_half *half);

/* Returns the series of the halves; zeros: uses are not counted. */
const struct series_id *ledger_series(const struct ledger *ledger);

/* Another daemon uses the series: take a new one, for what the front's half counts too. 0 or
 * -errno. */
__attribute__((warn_unused_result)) int ledger_begin_series(struct ledger *ledger,
                                                            const struct series_id *series);

/* Returns half 0 or 1 of the file in use. The receiver of a half owns it. */
struct ledger_half *ledger_half(struct ledger *ledger, int index);

/* Check the state of the file: three system calls that read no disk. Back thread, as all below. */
enum ledger_state ledger_look(const struct ledger *ledger);

/* Get a new file at hand if the one in use is no longer usable or no longer has the ledger's name.
 * True when a new file is at hand, from this call or an earlier one. Else report->error says why
 * not, or is 0 when no new file is needed. */
bool ledger_renew(struct ledger *ledger, int64_t now_us, struct ledger_report *ret_report);

/* Returns the empty half of the file at hand, for the front thread, or NULL. The file stays at hand
 * until ledger_succeed(). */
struct ledger_half *ledger_fresh_half(struct ledger *ledger);

/* The front thread has that half, and both halves of the old file are in *pending. Close the old
 * file, write all of *pending to the new one, and add entries found in the new one to *pending.
 * Returns the half that is not the front's, or NULL when out of memory. */
struct ledger_half *ledger_succeed(struct ledger *ledger, struct usage_batch *pending);

#endif
