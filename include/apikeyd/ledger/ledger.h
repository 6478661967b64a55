/* ledger: the last_used times that are not in PostgreSQL yet, safe from SIGKILL.
 *
 * A file on tmpfs, mapped, in two halves. The front thread appends to one half while the back
 * thread drains the other; a half changes hands by message, so each has one owner at any time.
 *
 *     0          4 KiB                                 4 KiB + half                    end
 *     | header   | half 0: slots, then zeros           | half 1: slots, then zeros     |
 *
 * A half is not a hash table. The cached verdict remembers which slot its key got, the slot says
 * whose it is, and a key whose hint is wrong simply gets another slot: duplicates are merged by
 * maximum when the half is drained. So recording touches one line, and growing is reserving more
 * of the (sparse) file: nothing ever moves. A slot counts once its last_used is not zero; that is
 * stored last, so a process killed at any instruction leaves only whole slots.
 *
 * Usage never keeps authentication down. Where no file can be had, the halves are memory; where
 * the file system has no room, the rest of a half is; a file that is cut short does not kill the
 * daemon (ledger_map). The back thread looks after the file, and replaces it at a swap of halves:
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

#include <apikeyd/ledger/ledger_half.h>
#include <apikeyd/ledger/ledger_report.h>
#include <apikeyd/ledger/usage_batch.h>

struct ledger;

/* Open or create the ledger at `path` and take its lock. A damaged file is renamed, never
 * deleted; whole slots found in it go into the new one. Without a usable file it is in memory, and
 * the report says why. Returns 0, -EWOULDBLOCK when another daemon holds the lock, or -ENOMEM.
 * `now_us` is wall time: slots that are later count as used now. */
__attribute__((warn_unused_result)) int ledger_open(const char *path, int64_t now_us,
                                                    struct ledger **ret,
                                                    struct ledger_report *ret_report);

/* Unmap and unlock. What is in the halves stays in the file. */
void ledger_close(struct ledger *ledger);

/* Whose usage it holds; zeros: that is not known yet. */
const struct store_id *ledger_owner(const struct ledger *ledger);

/* Whose it held before, while some of that may still be in it; zeros: nobody's. */
const struct store_id *ledger_left(const struct ledger *ledger);

/* Note both, in one write. 0 or -errno. One thread at a time. */
__attribute__((warn_unused_result)) int
ledger_set_owner(struct ledger *ledger, const struct store_id *owner, const struct store_id *left);

/* Have half 1 hold all that was found in the file, so that the front thread begins with an empty
 * half 0. Before there are two threads. */
void ledger_gather(struct ledger *ledger);

/* Half 0 or 1 of the file in use. The receiver of a half owns it. */
struct ledger_half *ledger_half(struct ledger *ledger, int index);

/* What has become of the file: three system calls that read no disk. Back thread, as all below. */
enum ledger_state ledger_look(const struct ledger *ledger);

/* Have a new file at hand, if the one in use is not a usable one of the ledger's name any more.
 * True when there is one, from now or before. Else report->error says why not, or is 0 when none is
 * needed. */
bool ledger_renew(struct ledger *ledger, int64_t now_us, struct ledger_report *ret_report);

/* The empty half of the file at hand, to be sent to the front thread, or NULL. It stays at hand
 * until ledger_succeed(). */
struct ledger_half *ledger_fresh_half(struct ledger *ledger);

/* The front thread has that half, and both of the old file's are in *pending. Close that file, have
 * the new one hold all of *pending, and what was found in the new one be in *pending too. Returns
 * the half that is not the front's, or NULL when out of memory. */
struct ledger_half *ledger_succeed(struct ledger *ledger, struct usage_batch *pending);

#endif
