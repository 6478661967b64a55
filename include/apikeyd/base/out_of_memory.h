/* out_of_memory: ends the process where it cannot continue without memory.
 *
 * Most callers of malloc(3) return an error to their own caller. This function is for the rest: a
 * verdict, a reply or a round of usage that would be lost in silence. The end of the process loses
 * nothing that is recorded: usage is in the ledger, and the supervisor starts the daemon again.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OUT_OF_MEMORY_H
#define APIKEYD_OUT_OF_MEMORY_H

/* Write a message to stderr, unless that would block, and abort(3). The log's queued lines are
 * written first (log_hooks). Any thread. */
__attribute__((noreturn, cold)) void out_of_memory(void);

#endif
