/* front_state: the state of one front thread. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FRONT_STATE_H
#define APIKEYD_FRONT_STATE_H

#include <apikeyd/auth/admission.h>
#include <apikeyd/auth/count_bucket.h>
#include <apikeyd/auth/lookahead.h>
#include <apikeyd/clock/clock_jump.h>
#include <apikeyd/config/config.h>
#include <apikeyd/conn/connection.h>
#include <apikeyd/conn/fd_timer.h>
#include <apikeyd/conn/listener.h>
#include <apikeyd/conn/operator_requests.h>
#include <apikeyd/ledger/ledger.h>
#include <apikeyd/model/digest_map.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/model/quota_book.h>
#include <apikeyd/model/refused_keys.h>
#include <apikeyd/model/verdict_cache.h>
#include <apikeyd/wire/http_reply.h>

/* Maximum of requests other than lookups that wait for the back thread, over all clients. The
 * mailbox has this much room beyond that for lookups, so lookups never fill theirs. */
enum { FRONT_ASKS_MAX = 512 };

/* The last users that were refused, and when that was logged. Time 0: no user. */
enum { REFUSALS = 16 };

struct refusal {
    uid_t uid;
    int64_t logged_us;
};

struct front {
    struct config *config;
    struct event_base *base;
    struct event *mail;
    struct clients clients;
    struct listener listener[SOCKET_ROLES];
    bool serves_timed;      /* a protocol that is served is timed */
    struct fd_timer second; /* for clients that are too slow */
    struct mailbox *to_back, *to_front;
    struct metrics metrics;
    uint64_t answered[TIER_NONE + 1]; /* checks */
    uint64_t timed[TIER_NONE + 1];    /* those of them whose duration is recorded */

    struct key_hasher *hasher;
    unsigned key_scheme; /* of the hasher's digests */
    struct verdict_cache *cache;
    struct lookahead lookahead;
    struct buffer spare_requests; /* lent to a connection between MULTI and EXEC */
    struct digest_map flights;
    TAILQ_HEAD(, waiter) waiters; /* for flights, oldest first */
    struct fd_timer deadline;     /* of the first waiter, or earlier */
    bool deadline_set;
    unsigned quiet_s; /* seconds without a message from the back thread, counted by this thread */
    struct admission admission;
    struct operator_requests operator_requests;
    struct ledger_half *usage; /* the half in use */
    struct count_bucket bucket;
    uint32_t usage_rounds;     /* halves handed over */
    struct quota_book *quotas; /* NULL: keys have none */
    size_t usage_full;         /* when this many of its slots are used, flush_rows are waiting */
    bool usage_full_logged;    /* the back thread knows that flush_rows are waiting */
    bool unrecorded_logged;
    struct refusal refusals[REFUSALS];
    struct {
        int64_t since_us;
        unsigned count;
    } denials;                    /* handed over in the second that began then */
    struct refused_keys *refused; /* inactive and expired ones */
    int64_t over_share_logged_us; /* a process over its share of connections; 0: never */

    struct freshness freshness; /* as of now_us */
    struct clock_jump clocks;
    int64_t now_us;  /* monotonic: arrival of the read or message being handled */
    int64_t wall_us; /* likewise, µs since 1970 */
    struct http_date date;
    bool stopped;
};

/* Read the clocks: once for all requests of one batch. */
void front_tick(struct front *front);

/* Take the inputs by which the back thread judges now. */
void front_take_freshness(struct front *front, const struct freshness_inputs *inputs);

/* The answers from memory since the last call came in one read: record how long they took. */
void front_time_read(struct front *front);

/* A check that had to wait since `asked_us` is answered from `tier` (NONE: UNAVAILABLE). */
void front_time_wait(struct front *front, enum tier tier, int64_t asked_us);

/* Returns the front's metrics, with current gauges; malloc()ed, or NULL. */
struct metrics *front_take_metrics(struct front *front);

/* Print INFO as far as this thread knows it, for when the back thread stands still. */
void front_print_info(const struct front *front, struct metrics *metrics, struct slice section,
                      struct buffer *out);

void front_answer_stats_poll(struct front *front, uint32_t id);

/* Returns whether the back thread stands still: it sends a message every second, and none has come
 * for longer than a check may wait, or for 5 s. Only time in which this thread ran counts, so a
 * paused machine does not count as silence. */
bool front_back_silent(const struct front *front);

/* Send to the back thread; false when the mailbox is full. */
bool front_post(struct front *front, const struct to_back *message);

/* Have the back thread log a line: a write to the log may block. */
#define front_log(front, level, ...)                                                               \
    front_log_line(front, level, &(const struct log_place){__FILE__, __func__, __LINE__},          \
                   __VA_ARGS__)
__attribute__((format(printf, 4, 5))) void front_log_line(struct front *front, enum log_level level,
                                                          const struct log_place *place,
                                                          const char *format, ...);

#endif
