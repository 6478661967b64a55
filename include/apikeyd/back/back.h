/* back: the thread that may take its time.
 *
 * The back thread, the process's first, owns Redis, PostgreSQL, usage flushes, the log and the
 * files. Misses wait for this thread, so it never blocks for long either.
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
    struct config *config;     /* owned by the back from here on */
    struct key_hasher *hasher; /* likewise */
    const char *config_path;   /* NULL: none; must outlive the back */
    struct log log;
    const struct log_writer *log_writer; /* its lines are counted; must outlive the back; or NULL */
    struct slice redis_password, redis_sentinel_password,
        redis_secret;      /* empty: none; must outlive the back */
    struct ledger *ledger; /* must outlive the back */
    struct ledger_half *half;
    struct usage_batch spilled; /* owned by the back from here on */
    struct count_list *counts;  /* that wait; emptied */
    enum spill_state spill;
    struct usage_judged judged; /* as both were read */
    int metrics_fd;             /* listening; not owned; -1: none */
    /* Both threads are alive: called every `tick_us` (0: a second); may be NULL. */
    void (*on_alive)(void *arg, const struct status_snapshot *snapshot);
    void *alive_arg;
    int64_t tick_us;
    struct mailbox *to_back, *to_front;
};

/* NULL, with everything owned freed, when out of memory or redis.url is malformed. */
struct back *back_new(struct back_setup *setup);

/* For signal events. */
struct event_base *back_base(struct back *back);

/* Lines logged here also appear on the status page. */
const struct log *back_log(const struct back *back);

/* Serve until the drain ends. */
void back_run(struct back *back);

/* Read the configuration again. Logs the result. */
void back_reload(struct back *back);

/* `fd` replaces a listening socket whose file was removed: the front thread switches to `fd` and
 * closes the old socket. */
void back_move_listener(struct back *back, enum socket_role role, int fd);

/* `count` sockets cannot be reached by their path now. */
void back_set_sockets_lost(struct back *back, size_t count);

/* What became of listen.cpu: whether the front thread has a processor to itself, how often threads
 * were found elsewhere, and all of it in words, which must outlive the back. */
void back_set_front_cpu(struct back *back, bool held, uint64_t losses, const char *description);

/* Stop. For listen.linger all requests are answered, but the daemon is not ready any more. Then
 * take no more requests, answer those in flight, and write usage, within listen.drain_timeout;
 * usage that is not written by then waits in the ledger. Called again, it ends the linger. */
void back_drain(struct back *back);

/* Returns whether back_drain() was called, and requests are still taken. */
bool back_lingers(const struct back *back);

/* Returns the longest time that back_drain() takes: listen.linger and listen.drain_timeout. */
int64_t back_stop_max_us(const struct back *back);

/* Call after the front thread has ended. Admin requests get their last replies, for front_free().
 * False: a disk still holds up work on the usage files; the files must stay open until the process
 * ends. */
bool back_free(struct back *back);

#endif
