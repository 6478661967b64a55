/* out_of_memory: how the process ends where it cannot go on without memory.
 *
 * Most callers of malloc(3) return an error, and whoever asked hears of it. This is for the rest:
 * a verdict, a reply or a round of usage that would be lost in silence. Ending loses nothing that
 * is recorded: usage is in the ledger, and the supervisor starts the daemon again.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OUT_OF_MEMORY_H
#define APIKEYD_OUT_OF_MEMORY_H

/* Say so on stderr, unless that would block, and abort(3), which lets the log's queued lines be
 * written first (log_hooks). Any thread. */
__attribute__((noreturn, cold)) void out_of_memory(void);

#endif
