/* ledger_keeper: checks the ledger's file once a second, and has it replaced when it is lost.
 *
 * The flusher exchanges the halves, because it owns one of them. The keeper tells the flusher when
 * a new file is at hand. The flusher takes that file's empty half, sends it to the front thread,
 * and comes back with the entries of the old file.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_KEEPER_H
#define APIKEYD_LEDGER_KEEPER_H

#include <event2/event_struct.h>

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/thread/back_env.h>

struct ledger_keeper {
    struct back_env *env;
    struct ledger *ledger;
    void (*at_hand)(void *arg); /* a new file waits for the next swap */
    void *arg;
    struct event timer;
    enum ledger_state state;
    int64_t crowded_us; /* monotonic, the last time without room; or TIME_NEVER */
    int error; /* why there is no new file, as logged; 0: there is one, or none is needed */
};

void ledger_keeper_init(struct ledger_keeper *keeper, struct back_env *env, struct ledger *ledger,
                        void (*at_hand)(void *arg), void *arg);
void ledger_keeper_done(struct ledger_keeper *keeper);

/* After a swap: count the entries that the front's half has lost. */
void ledger_keeper_count(struct ledger_keeper *keeper, const struct ledger_half *half);

/* After the swap in which the front got ledger_fresh_half(): as ledger_succeed(). */
struct ledger_half *ledger_keeper_succeed(struct ledger_keeper *keeper,
                                          struct usage_batch *pending);

/* Count the faulty entries of a file that was read back, and log them. */
void ledger_keeper_judged(struct back_env *env, const char *file,
                          const struct usage_judged *judged);

#endif
