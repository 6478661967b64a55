/* back: the thread that may take its time.
 *
 * Redis, PostgreSQL, usage flushes, the log and the files. It runs on the process's first thread
 * and never blocks for long either: misses wait for it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BACK_H
#define APIKEYD_BACK_H

#include <event2/event.h>

#include <apikeyd/ledger/spill.h>
#include <apikeyd/ledger/usage_batch.h>
#include <apikeyd/model/mailbox.h>
#include <apikeyd/observe/status_snapshot.h>
#include <apikeyd/thread/log_writer.h>

struct back;

struct back_setup {
    struct config *config;   /* owned by the back from here on */
    const char *config_path; /* NULL: none; must outlive the back */
    struct log log;
    const struct log_writer
        *log_writer; /* whose lines are counted; must outlive the back; or NULL */
    struct slice redis_password, redis_secret; /* empty: none; must outlive the back */
    struct ledger *ledger;                     /* must outlive the back */
    struct ledger_half *half;
    struct usage_batch spilled; /* owned by the back from here on */
    enum spill_state spill;
    struct usage_judged judged; /* as both were read */
    int metrics_fd;             /* listening; not owned; -1: none */
    /* Both threads are alive: called every `tick_us` (0: a second); may be NULL. */
    void (*on_alive)(void *arg, const struct status_snapshot *snapshot);
    void *alive_arg;
    int64_t tick_us;
    struct mailbox *to_back, *to_front;
};

/* NULL, with everything owned freed, when out of memory or redis.url is not one. */
struct back *back_new(struct back_setup *setup);

/* For signal events. */
struct event_base *back_base(struct back *back);

/* What is logged by this is shown on the status page too. */
const struct log *back_log(const struct back *back);

/* Serve until a drain is over. */
void back_run(struct back *back);

/* Read the configuration again. Logs what came of it. */
void back_reload(struct back *back);

/* `fd` listens in the place of a socket whose file was removed: the front thread goes over to it,
 * and closes the last one. */
void back_move_listener(struct back *back, enum socket_role role, int fd);

/* So many sockets cannot be reached by their path now. */
void back_set_sockets_lost(struct back *back, size_t count);

/* Stop: take no more requests, answer those in flight, write usage. Within listen.drain_timeout;
 * what could not be written by then waits in the ledger. */
void back_drain(struct back *back);

/* listen.drain_timeout as it is in force. */
int64_t back_drain_timeout_us(const struct back *back);

/* After the front thread has ended. Admin requests get their last replies, for front_free(). False:
 * a disk still holds up work on the files of usage, which must stay open until the process ends. */
bool back_free(struct back *back);

#endif
