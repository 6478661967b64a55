/* ending_keys: how many keys end within seven days, counted by one daemon of a fleet.
 *
 * Each daemon asks for an advisory lock of the table's by the change feed's session, which leads
 * through no pooler. The session that has the lock keeps it for as long as it lives, and its daemon
 * counts, by one more session. When that daemon stops, or its feed is lost, PostgreSQL gives the
 * lock to whichever daemon asks next. A count that takes long is given up by PostgreSQL. A daemon
 * that does not count, or cannot, shows no number rather than an old one. A feed's session that is
 * renewed has to ask again: two daemons may show a number until then, for one round at most.
 *
 * Without postgres.expires_column no key ends, and nothing is asked. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ENDING_KEYS_H
#define APIKEYD_ENDING_KEYS_H

#include <apikeyd/postgres/pg_connection.h>

struct ending_keys_setup {
    struct back_env *env;
    /* Returns whether the feed's session can take a query now. Sends `query` if so, unless it is
     * NULL. */
    bool (*lend)(void *arg, const struct pg_query *query);
    void *arg;
};

struct ending_keys;

/* NULL when out of memory. */
struct ending_keys *ending_keys_new(const struct ending_keys_setup *setup);

/* Call after the feed is freed: a query may be under way by its session. */
void ending_keys_free(struct ending_keys *ending);

/* The feed has come up, or it is down, and with it the lock. */
void ending_keys_feed_is(struct ending_keys *ending, bool up);

/* The feed's session is idle now. */
void ending_keys_feed_idle(struct ending_keys *ending);

/* Ask, and count, without waiting for the next round. */
void ending_keys_hurry(struct ending_keys *ending);

/* Returns the number, or METRIC_ABSENT. */
uint64_t ending_keys_count(const struct ending_keys *ending);

#endif
