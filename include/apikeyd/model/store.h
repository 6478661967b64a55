/* store: which server, database and table an answer of PostgreSQL came from.
 *
 * The change feed and the lookups have sessions of their own, perhaps through a pooler, and nothing
 * but what the server says proves that both lead to the same table. A `mark` is what every
 * statement can tell cheaply. It belongs to one run of one server, so what else that server is (a
 * `store`) has to be asked only once for each mark. A store's identity outlives restarts; after a
 * failover its timeline is a later one.
 *
 *     answer ─ mark ─▶ known? ─ no ─▶ ask the session for the whole store, and look again
 *                        │ yes
 *                        ▼
 *              outdated · elsewhere · current
 *
 * Pure: it is told what was read, and judges. Back thread only.
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
    uint64_t system; /* system identifier: of the cluster, and of its standbys */
    uint32_t timeline;
    uint32_t database, table; /* OIDs */
    int64_t started_us; /* the mark's: a copy of a server has all the rest in common with it */
};

struct store {
    struct store_mark mark;
    struct store_id id;
    bool standby; /* in recovery */
    bool plain;   /* it is a table or a partitioned one, not a view or a foreign table */
    bool bytes;   /* the database has no encoding: it does not know which letters its text is of */
};

enum store_standing {
    STORE_UNKNOWN,   /* ask the session that the answer came from for the whole store */
    STORE_NO_TABLE,  /* something else stands in the table's place: what is absent proves nothing */
    STORE_OUTDATED,  /* a standby, or on a timeline before one that was seen: not to be used */
    STORE_ELSEWHERE, /* not where the feed listens: changes of it are not heard of */
    STORE_CURRENT,   /* where the feed listens, or, while there is no feed, usable */
};

/* What has become of the current store. */
enum store_change {
    STORE_KEPT,
    STORE_RESTARTED, /* perhaps after a failover: what was read before may be out of date */
    STORE_REPLACED,  /* by another table: what was read before is about other rows */
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

/* The store that bears the mark, if it is known, or NULL. */
const struct store *stores_find(const struct stores *stores, const struct store_mark *mark);

/* Note what a session told of itself. */
void stores_learn(struct stores *stores, const struct store *store);

/* The feed has heard from `store`, which is learnt too. */
enum store_change stores_feed(struct stores *stores, const struct store *store);
void stores_feed_lost(struct stores *stores);

/* Forget the timelines seen so far, so that a server on any timeline is accepted. False, and
 * nothing is done, while the feed is up, and if no server on an earlier timeline has answered since
 * the feed was up: then no server is refused, and this is a reload like any other. */
bool stores_forget_later(struct stores *stores);

/* What to make of an answer that bears `mark`; for CURRENT and ELSEWHERE sets *ret_id. `standby`
 * is what the same answer told. */
enum store_standing stores_judge(const struct stores *stores, const struct store_mark *mark,
                                 bool standby, struct store_id *ret_id);

/* The same of a store just read. */
bool stores_outdated(const struct stores *stores, const struct store *store);

/* A lookup's answer from `id` is CURRENT. */
enum store_change stores_use(struct stores *stores, const struct store_id *id);

/* A lookup was answered from `id`. Returns whether the one before was answered from another store,
 * or from another run of its server. */
bool stores_answered(struct stores *stores, const struct store_id *id);

bool store_mark_equal(const struct store_mark *a, const struct store_mark *b);
bool store_id_equal(const struct store_id *a, const struct store_id *b);

/* The same rows, perhaps after a restart or a failover: what usage belongs to. */
bool store_id_same_table(const struct store_id *a, const struct store_id *b);

/* Whether it is one, or zeros. */
bool store_id_known(const struct store_id *id);

/* <system identifier>/<timeline>/<database's OID>/<table's OID>: for people. */
void store_id_to_text(const struct store_id *id, char ret[static STORE_TEXT_SIZE]);

/* The same and the server's start: in the names of Redis's keys. */
void store_id_to_key(const struct store_id *id, char ret[static STORE_KEY_SIZE]);

#endif
