/* store: which server, database and table an answer of PostgreSQL came from.
 *
 * The change feed and the lookups have sessions of their own, perhaps through a pooler, and only
 * the server's own answers prove that both lead to the same table. A `mark` is the part of that
 * answer that every statement can give cheaply. A mark belongs to one run of one server, so the
 * daemon asks for the rest (the `store`) only once for each mark. A store's identity outlives
 * restarts; a failover gives it a later timeline.
 *
 *     answer ─ mark ─▶ known? ─ no ─▶ ask the session for the whole store, and look again
 *                        │ yes
 *                        ▼
 *              outdated · elsewhere · current
 *
 * Pure: callers pass the answers in, and this module judges. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STORE_H
#define APIKEYD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_NAME_SIZE = 64, STORE_TEXT_SIZE = 64, STORE_KEY_SIZE = 96, STORES_KNOWN = 16 };

struct store_mark {
    int64_t started_us; /* when the postmaster started, µs since 1970 */
    uint32_t table;     /* OID */
    char database[STORE_NAME_SIZE];
};

struct store_id {
    uint64_t system; /* system identifier: shared by a cluster and its standbys */
    uint32_t timeline;
    uint32_t database, table; /* OIDs */
    int64_t started_us;       /* the mark's: it alone distinguishes a copy of a server */
};

struct store {
    struct store_mark mark;
    struct store_id id;
    bool standby; /* in recovery */
    bool plain;   /* an ordinary or partitioned table, not a view or a foreign table */
    bool bytes;   /* the database has encoding SQL_ASCII: its text is bytes */
};

enum store_standing {
    STORE_UNKNOWN,   /* ask the session that the answer came from for the whole store */
    STORE_NO_TABLE,  /* the name is not of a table: a missing row proves nothing */
    STORE_OUTDATED,  /* a standby, or on an earlier timeline than seen before: do not use */
    STORE_ELSEWHERE, /* not the feed's store: its changes are not heard of */
    STORE_CURRENT,   /* the feed's store; any usable store while there is no feed */
};

/* Changes of the current store. */
enum store_change {
    STORE_KEPT,
    STORE_RESTARTED, /* perhaps after a failover: earlier reads may be out of date */
    STORE_REPLACED,  /* by another table: earlier reads are of other rows */
};

struct stores {
    struct store known[STORES_KNOWN];
    size_t count, next;
    bool has_feed; /* the feed is up, … */
    struct store feed;
    bool has_current; /* the feed's store, or without a feed that of the last lookup */
    struct store_id current;
    bool has_home;        /* where the last lookup was answered, … */
    struct store_id home; /* … elsewhere than where the feed listens too: usage belongs there */
};

/* Returns the store that has the mark, or NULL when it is not known. */
const struct store *stores_find(const struct stores *stores, const struct store_mark *mark);

/* Remember the store that a session reported. */
void stores_learn(struct stores *stores, const struct store *store);

/* The feed has heard from `store`. Also remembers it. */
enum store_change stores_feed(struct stores *stores, const struct store *store);
void stores_feed_lost(struct stores *stores);

/* Forget the timelines seen so far, so that a server on any timeline is accepted. False, and
 * nothing is done, while the feed is up, or if no server on an earlier timeline has answered since
 * the feed was up: then no server is refused, and the reload changes nothing here. */
bool stores_forget_later(struct stores *stores);

/* Judge an answer that has `mark`; for CURRENT and ELSEWHERE sets *ret_id. `standby` comes from the
 * same answer. */
enum store_standing stores_judge(const struct stores *stores, const struct store_mark *mark,
                                 bool standby, struct store_id *ret_id);

/* Returns whether a store just read is OUTDATED. */
bool stores_outdated(const struct stores *stores, const struct store *store);

/* A lookup's answer from `id` is CURRENT. */
enum store_change stores_use(struct stores *stores, const struct store_id *id);

/* A lookup was answered from `id`. Returns whether the one before was answered from another store,
 * or from another run of its server. */
bool stores_answered(struct stores *stores, const struct store_id *id);

bool store_mark_equal(const struct store_mark *a, const struct store_mark *b);
bool store_id_equal(const struct store_id *a, const struct store_id *b);

/* The same rows, perhaps after a restart or a failover: usage belongs to these. */
bool store_id_same_table(const struct store_id *a, const struct store_id *b);

/* Returns whether `id` is known, that is not zeros. */
bool store_id_known(const struct store_id *id);

/* <system identifier>/<timeline>/<database's OID>/<table's OID>: for people. */
void store_id_to_text(const struct store_id *id, char ret[static STORE_TEXT_SIZE]);

/* As store_id_to_text(), with the server's start: for the names of Redis keys. */
void store_id_to_key(const struct store_id *id, char ret[static STORE_KEY_SIZE]);

#endif
