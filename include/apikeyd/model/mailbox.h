/* mailbox: the only channel between the two threads.
 *
 * Lookups, usage and admin requests go from front to back; verdicts, invalidations and replies go
 * from back to front. Each direction has one ring, and an eventfd to wake the other loop. Messages
 * are copied, and a pointer in one passes ownership along with it. Messages keep their order, and
 * coherence depends on that: a verdict read before an invalidation cannot arrive after it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_MAILBOX_H
#define APIKEYD_MAILBOX_H

#include <stdint.h>
#include <sys/types.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/base/log.h>
#include <apikeyd/base/ring.h>
#include <apikeyd/model/digest.h>
#include <apikeyd/model/freshness.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/metrics.h>
#include <apikeyd/model/quota_book.h>
#include <apikeyd/model/socket_role.h>
#include <apikeyd/model/verdict.h>

struct config;
struct ledger_half;
struct refused_keys;

enum to_back_type {
    TO_BACK_LOOKUP,     /* lookup */
    TO_BACK_EXPLAIN,    /* lookup, ask, explain */
    TO_BACK_INVALIDATE, /* invalidate, ask */
    TO_BACK_FLUSH,      /* ask */
    TO_BACK_REPORT,     /* report, ask */
    TO_BACK_REFUSED,    /* refused, ask */
    TO_BACK_STATS,      /* stats: the answer to TO_FRONT_STATS_POLL */
    TO_BACK_RELOAD,     /* ask */
    TO_BACK_SWAPPED,    /* half: drain it */
    TO_BACK_USAGE_FULL, /* flush_rows are waiting */
    TO_BACK_LOG,        /* line */
    TO_BACK_CLOCK_JUMP, /* jump: this host's clocks have parted */
    TO_BACK_DRAINED,    /* every client has its answers */
    TO_BACK_DENIAL,     /* denial: for the log */
    TO_BACK_QUOTA,      /* quota_of: how often was this key used in this month? */
};

struct lookup_request {
    struct digest digest;
    unsigned key_scheme;    /* of the digest: see TO_FRONT_CONFIG */
    uint32_t connection_id; /* the connection that asked: fair_queue.h */
    bool refresh;           /* ask PostgreSQL: the verdict that Redis holds is to be renewed */
    uint8_t key_len;        /* the key as it was sent */
    char key[KEY_LEN_MAX];
};

/* A refusal, for the log. */
struct denial {
    struct digest digest;
    enum verdict_kind kind;
    enum tier tier;
    pid_t pid; /* of who asked, as in struct peer */
    uid_t uid;
    uint8_t forwarded_len;
    char forwarded[63]; /* X-Forwarded-For, or its end: bytes of a client's */
};

/* The front thread's knowledge of a key, for EXPLAIN. */
struct explain_memory {
    struct verdict verdict; /* UNAVAILABLE: nothing is held. The receiver frees its attributes */
    enum freshness_use use;
    bool refreshing;
    bool malformed;               /* keys.form says that the key cannot exist */
    int64_t pending_last_used_us; /* in the ledger, or 0 */
    uint64_t uses;                /* of a key with a quota, in this month … */
    bool uses_known;              /* … with those that the table of counts has */
};

/* The text that an operator asks for; `section` applies to INFO. */
enum report_kind { REPORT_INFO, REPORT_METRICS, REPORT_STATUS };

struct to_back {
    enum to_back_type type;
    bool resp3;   /* the client that waits for the reply speaks RESP3 */
    uint64_t ask; /* the request's number, for its reply */
    union {
        struct {
            struct lookup_request lookup;
            struct explain_memory explain;
        };
        struct {
            bool all;
            struct digests digests; /* unless all */
        } invalidate;
        struct {
            struct metrics *metrics; /* the front's: the receiver frees them */
            enum report_kind kind;
            char section[32];
        } report;
        struct {
            struct metrics *metrics; /* likewise; NULL when out of memory */
            uint32_t id;
        } stats;
        struct refused_keys *refused; /* a copy of the front's: the receiver frees it */
        struct denial denial;
        struct row_id quota_of;
        struct ledger_half *half;
        struct {
            int64_t at_us, jump_us; /* see freshness_clocks_jumped() */
        } jump;
        struct {
            enum log_level level;
            struct log_place place;
            char text[240];
        } line;
    };
};

enum to_front_type {
    TO_FRONT_VERDICT,    /* answer: ends the lookup of its digest */
    TO_FRONT_OUTDATED,   /* answer: likewise, but a change has overtaken it: do not keep it */
    TO_FRONT_STALE,      /* answer: the verdict that Redis held, kept in case no store answers */
    TO_FRONT_INVALIDATE, /* invalidate: forget the key; later answers are newer */
    TO_FRONT_TOMBSTONE,  /* invalidate: forget the key if it was read before then */
    TO_FRONT_REPLY,      /* ask, reply */
    TO_FRONT_SWAP,       /* half: switch to it, and send back the one in use */
    TO_FRONT_FRESHNESS,  /* freshness_inputs: the new inputs */
    TO_FRONT_CONFIG,     /* configured: the receiver owns both */
    TO_FRONT_LISTEN,     /* listen: accept on this from now on, and close the last one */
    TO_FRONT_QUOTA,      /* quota_sum: the answer to TO_BACK_QUOTA */
    TO_FRONT_STATS_POLL, /* stats_poll: answer with the thread's metrics */
    TO_FRONT_DRAIN,      /* take no more requests */
    TO_FRONT_STOP,       /* leave the loop */
};

struct to_front {
    enum to_front_type type;
    uint64_t ask; /* the request that is answered */
    union {
        struct {
            struct digest digest;
            struct verdict verdict; /* the receiver frees its attributes */
            enum tier tier;
            const char *why;     /* of UNAVAILABLE; lives forever */
            unsigned key_scheme; /* as in the request */
        } answer;
        struct {
            struct digest digest;
            int64_t changed_at_us; /* monotonic: not before this; or TIME_NEVER */
            int64_t heard_us;      /* of INVALIDATE: verdicts that were read before are outdated */
        } invalidate;
        struct buffer reply; /* RESP; the receiver frees it */
        struct ledger_half *half;
        struct freshness_inputs freshness_inputs;
        struct quota_sum quota_sum;
        struct {
            struct config *config;
            struct key_hasher *hasher;
            unsigned key_scheme; /* counts changes of how keys are found, and of their digests */
        } configured;
        struct {
            enum socket_role role; /* check, admin or http */
            int fd;
        } listen;
        uint32_t stats_poll;
    };
};

/* Messages that the mailbox keeps room for: few kinds, and minor ones. */
enum { MAILBOX_RESERVE = 64, MAILBOX_MINOR = 256 };

struct mailbox {
    struct ring *ring;
    int wake_fd;   /* readable when the consumer has work */
    size_t posted; /* producer: messages since the last wake */
    size_t room;   /* messages that fit, the reserve included */
};

/* 0 or -errno. */
__attribute__((warn_unused_result)) int mailbox_init(struct mailbox *mailbox, size_t slots,
                                                     size_t message_size);
void mailbox_done(struct mailbox *mailbox);

/* Producer. False when the mailbox is full except for a reserve. The other side sees the message at
 * the next mailbox_wake() at the latest, so a burst of messages costs one wake. */
bool mailbox_post(struct mailbox *mailbox, const void *message, size_t len);
void mailbox_wake(struct mailbox *mailbox);

/* As mailbox_post(), with use of the reserve: for kinds of messages of which only a few are ever
 * under way. */
bool mailbox_post_reserved(struct mailbox *mailbox, const void *message, size_t len);

/* As mailbox_post(), for messages that may be dropped: they take MAILBOX_MINOR of the room that was
 * asked for at most. */
__attribute__((warn_unused_result)) bool mailbox_post_minor(struct mailbox *mailbox,
                                                            const void *message, size_t len);

/* Consumer: clear the wake-up. Then take messages until the mailbox is empty, or wake again for the
 * rest.
 */
void mailbox_clear_wake(struct mailbox *mailbox);
void mailbox_wake_again(struct mailbox *mailbox);
bool mailbox_take(struct mailbox *mailbox, void *ret_message);

#endif
