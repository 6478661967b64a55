/* ledger_keeper: looks after the ledger's file once a second, and has it replaced when it is lost.
 *
 * The flusher exchanges the halves, as it owns one of them: it is told when a new file is at hand,
 * asks for its empty half to send to the front thread, and comes back with what the old file held.
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
    int64_t crowded_us; /* monotonic, when there was last no room; or TIME_NEVER */
    int error;          /* why there is no new file, as it was told; 0: there is, or need not be */
};

void ledger_keeper_init(struct ledger_keeper *keeper, struct back_env *env, struct ledger *ledger,
                        void (*at_hand)(void *arg), void *arg);
void ledger_keeper_done(struct ledger_keeper *keeper);

/* After a swap: count what the front's half has lost. */
void ledger_keeper_count(struct ledger_keeper *keeper, const struct ledger_half *half);

/* After the swap in which the front got ledger_fresh_half(): as ledger_succeed(). */
struct ledger_half *ledger_keeper_succeed(struct ledger_keeper *keeper,
                                          struct usage_batch *pending);

/* Count what was read back from a file, and tell of it. */
void ledger_keeper_judged(struct back_env *env, const char *file,
                          const struct usage_judged *judged);

#endif
