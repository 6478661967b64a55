/* SPDX-License-Identifier: MIT */
#include <apikeyd/usage/flusher.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/base/out_of_memory.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>

#include "count_writer.h"
#include "ledger_keeper.h"
#include "reply_list.h"
#include "spill_keeper.h"
#include "usage_disk.h"
#include "usage_owner.h"
#include "usage_query.h"
#include "usage_session.h"

/* Longer than a lookup may take: no request waits for usage. */
static const int64_t statement_timeout_us = 10000000;

/* Refusals in one round after which chunks are no longer halved: enough to find a few rows at
 * fault, and an end if every row is at fault. */
enum { REFUSALS_MAX = 64 };

/* Times in one round that a session is asked for its store: a session that keeps changing stores is
 * useless. */
enum { ASKS_MAX = 8 };

/* The flusher leaves a session that leads elsewhere at most once in this time. */
static const int64_t stay_elsewhere_us = 30000000;

/* A disk that takes longer than this for a job is logged. */
static const int64_t disk_slow_us = 3000000;

/* A round starts to wait for no further statement with counts after this time. */
static const int64_t counting_us = 1000000;

/* The disk gets this time at the very end, after its share of listen.drain_timeout. */
static const int64_t disk_end_us = 100000;

enum phase {
    IDLE,
    SWAPPING, /* the front thread has to hand its half over */
    MOVING,   /* the disk thread moves usage of other stores */
    WRITING,  /* PostgreSQL takes pending usage, a chunk at a time */
    COUNTING, /* PostgreSQL has taken it, and is about to have taken counts too */
    SETTLING, /* the disk thread has the rest of pending usage, and the half */
};

struct flusher {
    struct flusher_setup setup;
    struct back_env *env;
    struct usage_session *session;
    struct event timer;
    struct job_queue *disk;
    struct event disk_timer;
    int64_t disk_slow_since_us; /* monotonic: a slow job began then; 0: none under way is slow */
    struct backoff backoff;
    int64_t interval_us; /* usage.flush_interval at the last look */
    enum phase phase;
    int64_t front_since_us;   /* when the front got the half that it uses */
    int64_t pending_since_us; /* the oldest use in `pending` is not from before this */
    int64_t round_started_us;
    int64_t counting_since_us; /* in the phase COUNTING */
    bool again;                /* start another round when this one is over */
    bool draining, drained, ending;
    bool swapped; /* this round has the front's entries */
    bool saving;  /* PostgreSQL is asked no more: the rest goes to the disk */

    struct usage_batch pending;
    const struct usage_batch *lent; /* to the job under way; both threads only read it */
    struct ledger_keeper ledger;
    bool half_free;  /* the half can be swapped: it holds nothing that is not pending */
    bool fresh_sent; /* the swap under way gives the front a half of a new file */
    struct spill_keeper spill;
    struct count_writer *counts; /* NULL: uses are not counted */
    struct usage_owner owner;
    bool proven;            /* the connection leads to the store that owns the ledger, … */
    struct store_mark mark; /* … and shows this mark there */
    bool lost;              /* the connection was lost since it was last asked for its store */
    bool taken;             /* usage set aside for that store is pending; its file still exists */
    unsigned asks;          /* in this round */
    int64_t stay_us;        /* monotonic: no session that leads elsewhere is left before then */
    bool refused_logged, hidden_logged, elsewhere_logged, number_logged;

    size_t next, len; /* the chunk under way in `pending` */
    size_t chunk_max; /* bound of a chunk, less than usage.batch after a refusal */
    size_t refusals;  /* in this round */
    size_t settled;   /* entries of `pending` that this round has emptied */
    bool connection_failed, statement_failed, aside_failed, elsewhere, not_yet;
    bool wrote_all;   /* the last round met none of these */
    uint64_t updated; /* rows of this round */
    bool clamped_logged, zone_logged;
    char *sql;
    struct usage_params params;
    struct reply_list waiting, served; /* for the next round; for this one */
};

static void note_clamped(struct flusher *flusher, uint64_t clamped)
{
    flusher->env->metrics.value[METRIC_USAGE_CLAMPED] += clamped;
    if (clamped == 0 || flusher->clamped_logged)
        return;
    flusher->clamped_logged = true;
    log_warning(&flusher->env->log,
                "usage: this host's clock is ahead of PostgreSQL's: last_used is written as "
                "PostgreSQL's now (logged once)");
}

/* An owner who does not know of the setting finds it here. */
static void note_zone(struct flusher *flusher, const PGresult *result)
{
    const struct config *config = flusher->env->config;

    if (flusher->zone_logged || !usage_query_zoneless(result))
        return;
    flusher->zone_logged = true;
    log_info(&flusher->env->log,
             "usage: column \"%s\" has no time zone; its times are written and read as of "
             "postgres.timestamp_zone, %s (logged once)",
             config->postgres_last_used_column, config->postgres_timestamp_zone);
}

static const char *failure_of(const struct flusher *flusher)
{
    if (flusher->elsewhere)
        return "the session for usage leads to another database than lookups; usage stays pending";
    if (flusher->not_yet)
        return "lookups have not told yet where usage belongs; it stays pending";
    if (flusher->aside_failed)
        return "usage of another database cannot be set aside; usage stays pending";
    if (flusher->connection_failed)
        return "postgres does not answer; usage stays pending";
    if (flusher->statement_failed)
        return "postgres refuses the update; usage stays pending";
    return NULL;
}

static const char disk_failure[] = "the disk does not answer; usage stays in the ledger";

static void on_disk_slow(evutil_socket_t fd, short what, void *arg)
{
    struct flusher *flusher = arg;
    char since[sizeof "2026-01-01 00:00:00"];
    time_t began = (time_t)((clock_wall_us() - disk_slow_us) / 1000000);
    struct tm fields;

    (void)fd;
    (void)what;
    strftime(since, sizeof since, "%F %T", gmtime_r(&began, &fields));
    flusher->disk_slow_since_us = clock_monotonic_us() - disk_slow_us;
    log_error(&flusher->env->log,
              "usage: the disk does not answer since %s UTC; no usage is written until it does, "
              "and the ledger keeps it (logged once)",
              since);
    reply_list_answer(&flusher->served, flusher->env, disk_failure, 0);
    reply_list_answer(&flusher->waiting, flusher->env, disk_failure, 0);
}

/* Give a job to the disk thread. There is never more than one. */
static void post(struct flusher *flusher, enum phase phase, struct job *job)
{
    flusher->phase = phase;
    timer_start(&flusher->disk_timer, disk_slow_us);
    if (!job_queue_post(flusher->disk, job))
        abort();
}

/* The job under way has ended. False: the flusher is being freed, and there is nothing to do but
 * to free the job, if that did end. */
static bool take_from_disk(struct flusher *flusher)
{
    flusher->lent = NULL;
    event_del(&flusher->disk_timer);
    if (flusher->disk_slow_since_us > 0)
        log_info(&flusher->env->log, "usage: the disk answers again, after %" PRId64 " s",
                 (clock_monotonic_us() - flusher->disk_slow_since_us) / 1000000);
    flusher->disk_slow_since_us = 0;
    return !flusher->ending;
}

static void begin(struct flusher *flusher);

static void finish_round(struct flusher *flusher)
{
    const char *failure = failure_of(flusher);

    histogram_record(&flusher->env->metrics.histogram[HISTOGRAM_FLUSH_TIME],
                     clock_monotonic_us() - flusher->round_started_us, 1);
    if (!flusher->swapped && flusher->half_free && !flusher->aside_failed) {
        begin(flusher); /* it wrote the rest of an earlier one: now comes the front's half */
        return;
    }
    const char *told =
        failure || !flusher->counts ? failure : count_writer_failure(flusher->counts);
    reply_list_answer(&flusher->served, flusher->env, told, flusher->updated);
    flusher->wrote_all = !failure;
    flusher->phase = IDLE;
    if (flusher->draining && !flusher->again) {
        flusher->drained = true;
        flusher->setup.on_drained(flusher->setup.arg);
        return;
    }
    if (failure) {
        timer_retry(&flusher->timer, &flusher->backoff);
    } else {
        backoff_reset(&flusher->backoff);
        flusher->refused_logged = flusher->elsewhere_logged = false;
        timer_start(&flusher->timer, flusher->env->config->usage_flush_interval);
    }
    if (flusher->again)
        flusher_start(flusher);
}

struct settle {
    struct usage_settle work; /* first: it begins with the job */
    struct flusher *flusher;
};

static void on_settled(struct job *job, enum job_end end)
{
    struct settle *settle = (struct settle *)job;
    struct flusher *flusher = settle->flusher;

    if (end == JOB_RUNS_ON)
        return;
    flusher->pending = settle->work.batch;
    if (take_from_disk(flusher)) {
        spill_keeper_take(&flusher->spill, &settle->work);
        flusher->taken = flusher->taken && !flusher->spill.whole;
        if (flusher->counts)
            count_writer_saved(flusher->counts, settle->work.counts_order,
                               settle->work.counts_error);
        flusher->half_free = flusher->half_free || (settle->work.counts_error == 0 &&
                                                    (flusher->spill.whole || settle->work.kept));
        if (flusher->spill.whole)
            usage_owner_emptied(&flusher->owner, &flusher->pending);
        finish_round(flusher);
    }
    buffer_free(&settle->work.counts);
    free(settle);
}

/* The rest has to be on disk before the half is emptied; a round that has nothing for the disk ends
 * at once. */
static void settle_now(struct flusher *flusher)
{
    enum count_order counts_order = COUNTS_LEAVE;
    struct buffer counts = {0};
    struct settle *settle;

    usage_batch_compact(&flusher->pending);
    flusher->settled = 0;
    enum spill_order order = spill_keeper_order(&flusher->spill, &flusher->pending);
    if (flusher->counts)
        counts_order = count_writer_order(flusher->counts, &counts);
    if (order == SPILL_LEAVE && counts_order == COUNTS_LEAVE && flusher->half_free &&
        !flusher->taken) {
        finish_round(flusher);
        return;
    }
    settle = calloc(1, sizeof *settle);
    if (!settle)
        out_of_memory(); /* all of it is in the ledger */
    settle->flusher = flusher;
    settle->work = (struct usage_settle){
        .job = {.run = usage_settle_run, .done = on_settled},
        .order = order,
        .batch = flusher->pending,
        .drop_aside = flusher->taken,
        .counts_order = counts_order,
        .counts = counts,
        .half = flusher->half_free ? NULL : flusher->setup.half,
        .spill_size = -1,
    };
    settle->work.batch.owner = flusher->owner.owner;
    snprintf(settle->work.spill, sizeof settle->work.spill, "%s",
             flusher->env->config->usage_spill);
    snprintf(settle->work.ledger, sizeof settle->work.ledger, "%s",
             flusher->env->config->usage_ledger);
    flusher->pending = (struct usage_batch){0};
    flusher->lent = &settle->work.batch;
    post(flusher, SETTLING, &settle->work.job);
}

/* Returns whether the round waits for counts, as then no disk is needed. They go by a session of
 * their own, and may take long when many wait. */
static bool waits_for_counts(struct flusher *flusher)
{
    int64_t now_us = clock_monotonic_us();

    if (flusher->phase != COUNTING)
        flusher->counting_since_us = now_us;
    return flusher->counts && !flusher->saving &&
           now_us - flusher->counting_since_us < counting_us && count_writer_busy(flusher->counts);
}

/* PostgreSQL takes no more last_used in this round. */
static void settle_round(struct flusher *flusher)
{
    if (waits_for_counts(flusher))
        flusher->phase = COUNTING;
    else
        settle_now(flusher);
}

static void on_progress(void *arg)
{
    struct flusher *flusher = arg;

    if (flusher->phase == COUNTING)
        settle_round(flusher);
}

static void on_counts(void *arg, const struct count_batch *batch)
{
    struct flusher *flusher = arg;

    flusher->setup.on_counts(flusher->setup.arg, batch->rows, batch->len);
}

static void log_refusal(struct flusher *flusher, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    if (flusher->refused_logged || !result || !message[0])
        return;
    flusher->refused_logged = true;
    if (usage_query_zone_unknown(result))
        log_error(
            &flusher->env->log,
            "usage: postgres.timestamp_zone \"%s\": PostgreSQL knows no such time zone; usage "
            "stays pending (logged once)",
            flusher->env->config->postgres_timestamp_zone);
    else
        log_error(&flusher->env->log, "postgres (usage): %.*s", (int)strcspn(message, "\n"),
                  message);
}

/* A rejected chunk is bisected to the bad row. All other rows, and chunks, are written. */
static void take_refusal(struct flusher *flusher, const PGresult *result)
{
    log_refusal(flusher, result);
    flusher->refusals++;
    if (flusher->len > 1 && flusher->refusals < REFUSALS_MAX &&
        usage_query_fault_of_a_row(result)) {
        flusher->chunk_max = flusher->len / 2;
        return;
    }
    if (flusher->refusals >= REFUSALS_MAX)
        flusher->chunk_max = flusher->env->config->usage_batch;
    flusher->statement_failed = true;
    flusher->next += flusher->len;
}

/* Returns whether the statement ran where this usage belongs, and saw all rows: else a row that it
 * did not find may exist. */
static bool told_right(struct flusher *flusher, const PGresult *result)
{
    struct store_told told;
    struct store_id id;

    if (!usage_query_told(result, &told))
        return false;
    enum store_standing standing =
        stores_judge(&flusher->env->stores, &told.mark, told.standby, &id);
    bool usable = standing == STORE_CURRENT || standing == STORE_ELSEWHERE;
    if (!usable || !store_mark_equal(&told.mark, &flusher->mark) ||
        usage_owner_place(&flusher->owner, &id) != USAGE_HERE) {
        flusher->proven = false; /* a statement that was sent elsewhere wrote nothing */
        return false;
    }
    if (told.hidden && !flusher->hidden_logged)
        log_error(&flusher->env->log, "postgres (usage): row security hides rows from the daemon's "
                                      "role; usage stays pending (logged once)");
    flusher->hidden_logged = told.hidden;
    return !told.hidden;
}

/* The chunk under way. */
static struct usage_batch chunk(const struct flusher *flusher)
{
    const struct usage_batch *pending = &flusher->pending;

    return (struct usage_batch){
        .slots = usage_slot_at(pending->slots, flusher->next, pending->type),
        .len = flusher->len,
        .cap = flusher->len,
        .type = pending->type,
    };
}

static void on_written(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct flusher *flusher = arg;
    uint64_t *count = flusher->env->metrics.value;
    struct usage_outcome settled;

    if (flusher->phase != WRITING)
        return;
    if (outcome == PG_DONE && told_right(flusher, result) &&
        usage_query_settle(result, chunk(flusher), &settled)) {
        flusher->updated += settled.updated;
        flusher->settled += flusher->len - settled.locked;
        flusher->next += flusher->len;
        flusher->chunk_max *= 2;
        count[METRIC_USAGE_STATEMENTS]++;
        count[METRIC_USAGE_ROWS] += settled.updated;
        count[METRIC_USAGE_LOCKED] += settled.locked;
        note_clamped(flusher, settled.clamped);
        note_zone(flusher, result);
    } else if (outcome == PG_DONE && !flusher->proven && flusher->asks < ASKS_MAX) {
        return; /* the session is asked where it leads, and the chunk sent again */
    } else {
        count[METRIC_USAGE_FAILURES]++;
        flusher->connection_failed = outcome == PG_LATE || outcome == PG_LOST;
        take_refusal(flusher, result);
    }
    if (flusher->connection_failed)
        settle_round(flusher);
}

static void send_chunk(struct flusher *flusher)
{
    struct pg_query query = {
        .sql = flusher->sql,
        .timeout_us = statement_timeout_us,
        .done = on_written,
        .arg = flusher,
    };
    size_t left = flusher->pending.len - flusher->next;
    size_t batch = flusher->env->config->usage_batch;

    if (flusher->chunk_max > batch)
        flusher->chunk_max = batch;
    flusher->len = left < flusher->chunk_max ? left : flusher->chunk_max;
    histogram_record(&flusher->env->metrics.histogram[HISTOGRAM_USAGE_BATCH], (int64_t)flusher->len,
                     1);
    usage_query_bind(&query, &flusher->params, chunk(flusher),
                     flusher->env->config->usage_resolution, &flusher->mark);
    usage_session_send(flusher->session, &query);
}

/* The session does not lead to where lookups are answered. Another one may, but need not. */
static void leave_elsewhere(struct flusher *flusher, const struct store_id *store)
{
    char here[STORE_TEXT_SIZE], there[STORE_TEXT_SIZE];

    store_id_to_text(store, here);
    store_id_to_text(&flusher->env->stores.home, there);
    if (!flusher->elsewhere_logged)
        log_error(&flusher->env->log,
                  "postgres (usage): the session leads to store %s, and lookups are answered from "
                  "%s; usage stays pending (logged once)",
                  here, there);
    flusher->elsewhere_logged = flusher->elsewhere = true;
    if (clock_monotonic_us() < flusher->stay_us) {
        settle_round(flusher);
        return;
    }
    flusher->stay_us = clock_monotonic_us() + stay_elsewhere_us;
    usage_session_give_up(flusher->session, "it leads to another database than lookups");
}

/* Counts go where last_used does. */
static void lead_counts(struct flusher *flusher)
{
    if (flusher->counts)
        count_writer_lead(flusher->counts, &flusher->mark, &flusher->owner.owner);
}

static void take_store(struct flusher *flusher, const struct store *store)
{
    enum usage_place place = usage_owner_place(&flusher->owner, &store->id);

    if (!store->plain) {
        if (!flusher->refused_logged)
            log_error(&flusher->env->log, "postgres (usage): postgres.table is not a table");
        flusher->refused_logged = flusher->statement_failed = true;
        settle_round(flusher);
    } else if (place == USAGE_ELSEWHERE) {
        leave_elsewhere(flusher, &store->id);
    } else if (place == USAGE_NOT_YET) {
        flusher->not_yet = flusher->pending.len > 0;
        settle_round(flusher);
    } else {
        flusher->elsewhere = false;
        flusher->proven = true;
        flusher->mark = store->mark;
        lead_counts(flusher);
    }
}

static void on_asked(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct flusher *flusher = arg;
    struct stores *stores = &flusher->env->stores;
    struct store store;
    int64_t server_us;

    if (outcome == PG_LATE || outcome == PG_LOST || flusher->phase != WRITING)
        return;
    if (outcome == PG_REFUSED || !store_query_read(result, 0, &store, &server_us)) {
        usage_session_give_up(flusher->session, "it does not tell which store it leads to");
        return;
    }
    stores_learn(stores, &store);
    if (stores_outdated(stores, &store))
        usage_session_give_up(flusher->session, "a standby, or on an old timeline");
    else
        take_store(flusher, &store);
}

static void ask_store(struct flusher *flusher)
{
    struct pg_query query = {
        .timeout_us = statement_timeout_us,
        .done = on_asked,
        .arg = flusher,
    };

    flusher->asks++;
    flusher->lost = false;
    store_query_bind(&query, flusher->env->config);
    usage_session_send(flusher->session, &query);
}

/* Go on with the round: the next chunk, the end, or nothing while a statement is under way. The
 * session of its own may come up, or be refused again, while the statement goes by the feed's. */
static void go_on(struct flusher *flusher)
{
    if (flusher->phase != WRITING || usage_session_borrows(flusher->session))
        return;
    if (usage_session_ready(flusher->session) && !flusher->proven && flusher->asks < ASKS_MAX) {
        ask_store(flusher);
    } else if (flusher->next >= flusher->pending.len) {
        settle_round(flusher);
    } else if (usage_session_ready(flusher->session)) {
        send_chunk(flusher);
    } else if (usage_session_down(flusher->session)) {
        flusher->connection_failed = true;
        settle_round(flusher);
    }
}

static void on_ready(void *arg)
{
    struct flusher *flusher = arg;

    /* The session is back after a loss, or up for the first time: pending usage need not wait for
     * the timer. As long as no lookup has shown where usage belongs, usage does wait: the first
     * such lookup begins a round. A round that has asked in vain waits for the timer too. */
    if (flusher->phase == IDLE && flusher->lost && flusher->env->stores.has_home)
        flusher_start(flusher);
    else
        go_on(flusher);
}

static void on_down(void *arg)
{
    struct flusher *flusher = arg;

    flusher->proven = false;
    flusher->lost = true;
    go_on(flusher);
}

static void give_up_writing(struct flusher *flusher)
{
    flusher->connection_failed = true;
    settle_round(flusher);
}

static void start_writing(struct flusher *flusher)
{
    flusher->phase = WRITING;
    free(flusher->sql);
    flusher->sql = usage_query_sql(flusher->env->config);
    if (flusher->proven)
        lead_counts(flusher);
    if (flusher->saving)
        give_up_writing(flusher);
    else
        go_on(flusher);
}

struct move {
    struct usage_move work; /* first: it begins with the job */
    struct flusher *flusher;
};

static void on_moved(struct job *job, enum job_end end)
{
    struct move *move = (struct move *)job;
    struct flusher *flusher = move->flusher;
    bool changes = !store_id_same_table(&move->work.owner, &flusher->owner.owner);

    if (end == JOB_RUNS_ON)
        return;
    bool goes_on = take_from_disk(flusher);
    bool moved = goes_on && usage_owner_take(&flusher->owner, &move->work, &flusher->taken);
    flusher->pending = move->work.batch;
    if (moved && (changes || move->work.back.len > 0)) {
        flusher->proven = false;
        flusher->spill.whole = false;
    }
    usage_batch_free(&move->work.back);
    free(move);
    flusher->aside_failed = !moved;
    if (moved)
        start_writing(flusher);
    else if (goes_on)
        settle_round(flusher);
}

/* Move usage of another store first. */
static void start_moving(struct flusher *flusher)
{
    struct move *move = calloc(1, sizeof *move);

    if (!move)
        out_of_memory(); /* all of it is in the ledger */
    if (!usage_owner_due(&flusher->owner, &move->work)) {
        free(move);
        start_writing(flusher);
        return;
    }
    move->flusher = flusher;
    move->work.job = (struct job){.run = usage_move_run, .done = on_moved};
    move->work.batch = flusher->pending;
    move->work.back.type = flusher->pending.type;
    snprintf(move->work.spill, sizeof move->work.spill, "%s", flusher->env->config->usage_spill);
    flusher->pending = (struct usage_batch){0};
    flusher->lent = &move->work.batch;
    post(flusher, MOVING, &move->work.job);
}

/* The half's entries are pending. */
static void start_round(struct flusher *flusher)
{
    flusher->round_started_us = clock_monotonic_us();
    flusher->next = 0;
    flusher->chunk_max = flusher->env->config->usage_batch;
    flusher->refusals = 0;
    flusher->settled = 0;
    flusher->connection_failed = false;
    flusher->statement_failed = false;
    flusher->aside_failed = false;
    flusher->elsewhere = false;
    flusher->not_yet = false;
    flusher->asks = 0;
    start_moving(flusher);
}

/* A new series begins while the half that is not the front's counts nothing. */
static void begin_series(struct flusher *flusher)
{
    const struct series_id series = series_new();
    int error = ledger_begin_series(flusher->setup.ledger, &series);

    if (error < 0)
        log_warning(&flusher->env->log, "usage.ledger: cannot note its series: %s",
                    strerror(-error));
}

static void number_half(struct flusher *flusher)
{
    if (flusher->counts && count_writer_wants_series(flusher->counts))
        begin_series(flusher);
    int error = ledger_give(flusher->setup.ledger, flusher->setup.half);
    if (error < 0 && !flusher->number_logged)
        log_warning(
            &flusher->env->log,
            "usage.ledger: cannot note the number of a half: %s; its counts are lost if the "
            "daemon is killed (logged once)",
            strerror(-error));
    flusher->number_logged = error < 0;
}

/* Ask for the front thread's half, if there is a half to give in return. Usage of the earlier store
 * that could not be set aside is not mixed with its entries. */
static void begin(struct flusher *flusher)
{
    struct ledger_half *fresh = ledger_fresh_half(flusher->setup.ledger);
    flusher->swapped = false;
    if (!fresh && (!flusher->half_free || flusher->aside_failed)) {
        start_round(flusher);
        return;
    }
    flusher->phase = SWAPPING;
    flusher->fresh_sent = fresh != NULL;
    flusher->swapped = true;
    if (!fresh)
        number_half(flusher);
    back_env_post(flusher->env, &(struct to_front){.type = TO_FRONT_SWAP,
                                                   .half = fresh ? fresh : flusher->setup.half});
}

void flusher_start(struct flusher *flusher)
{
    if (flusher->drained)
        return;
    if (flusher->phase != IDLE) {
        flusher->again = true;
        return;
    }
    flusher->again = false;
    flusher->served = flusher->waiting;
    flusher->waiting = (struct reply_list){0};
    flusher->updated = 0;
    event_del(&flusher->timer);
    begin(flusher);
}

/* Copy the entries of the half, which was in use since `front_since_us`, into `pending`; the half
 * keeps them. */
static void take_half(struct flusher *flusher)
{
    struct ledger_half *half = flusher->setup.half;

    flusher->half_free = half->used == 0;
    if (flusher->pending.len == 0)
        flusher->pending_since_us = flusher->front_since_us;
    flusher->front_since_us = clock_monotonic_us();
    if (half->used > 0)
        flusher->spill.whole = false;
    ledger_keeper_count(&flusher->ledger, half);
    if (!usage_batch_merge(&flusher->pending, half->slots, half->used))
        out_of_memory(); /* all of it is in the ledger */
}

static void take_counts(struct flusher *flusher)
{
    if (flusher->counts &&
        !count_writer_take(flusher->counts, flusher->setup.half, &flusher->owner.owner))
        out_of_memory(); /* all of it is in the ledger */
}

/* The front thread uses a new file now, and `pending` has all entries of the old one. */
static void take_new_file(struct flusher *flusher)
{
    struct ledger_half *half = ledger_keeper_succeed(&flusher->ledger, &flusher->pending);

    if (!half)
        out_of_memory(); /* all of it is in the ledger */
    flusher->setup.half = half;
    flusher->half_free = half->used == 0;
    flusher->spill.whole = flusher->spill.whole && half->used == 0;
    flusher->fresh_sent = false;
    if (flusher->counts)
        count_writer_find(flusher->counts);
    usage_owner_renewed(&flusher->owner);
}

void flusher_swapped(struct flusher *flusher, struct ledger_half *half)
{
    flusher->setup.half = half;
    flusher->owner.mixed = flusher->owner.mixed || flusher->aside_failed;
    flusher->env->metrics.value[METRIC_USAGE_SWAPS]++;
    take_half(flusher);
    take_counts(flusher);
    if (flusher->fresh_sent)
        take_new_file(flusher);
    start_round(flusher);
}

void flusher_home_changed(struct flusher *flusher)
{
    /* The front is asked for its half before it gets the first verdict of the other store. During a
     * round the front continues to use a half, which then holds usage of both stores. */
    if (!usage_owner_settled(&flusher->owner))
        usage_owner_leads_to_home(&flusher->owner,
                                  flusher->phase != IDLE && flusher->phase != SWAPPING);
    flusher_start(flusher);
}

void flusher_request(struct flusher *flusher, uint64_t ask)
{
    reply_list_add(&flusher->waiting, ask);
    if (flusher->disk_slow_since_us > 0)
        reply_list_answer(&flusher->waiting, flusher->env, disk_failure, 0);
    else
        flusher_start(flusher);
}

void flusher_drain(struct flusher *flusher)
{
    flusher->draining = true;
    flusher_start(flusher);
}

void flusher_ask_quota(struct flusher *flusher, const struct row_id *api_key_id)
{
    if (flusher->counts)
        count_writer_ask_quota(flusher->counts, api_key_id);
}

static void on_new_file(void *arg)
{
    flusher_start(arg);
}

void flusher_save(struct flusher *flusher)
{
    flusher->saving = true;
    if (flusher->phase == WRITING) {
        log_warning(&flusher->env->log, "usage: PostgreSQL does not take usage in time");
        give_up_writing(flusher);
    } else if (flusher->phase == COUNTING) {
        settle_now(flusher);
    }
}

/* Log where the remaining usage waits. The half is emptied only when the spill file is whole. */
void flusher_tell_rest(const struct flusher *flusher)
{
    const struct log *log = &flusher->env->log;
    const struct config *config = flusher->env->config;
    enum ledger_state ledger = ledger_look(flusher->setup.ledger);
    bool on_disk = flusher->phase == IDLE && flusher->spill.whole;
    size_t pending = flusher_pending(flusher);
    const char *late = "could not be written";
    size_t counts = flusher->counts ? count_writer_rows(flusher->counts) : 0;

    if (counts > 0)
        log_warning(log,
                    "usage: %zu rows of counts could not be added; they wait in a file, or in %s",
                    counts, config->usage_ledger);
    if (flusher->phase == SWAPPING)
        late = "and more could not be written, as the front thread does not answer";
    else if (flusher->phase == MOVING || flusher->phase == SETTLING)
        late = "could not be written, as the disk does not answer";
    else if (pending == 0)
        return;
    if (!on_disk && ledger != LEDGER_SAFE)
        log_error(log, "usage: %zu keys' last_used %s; it %s, as usage.ledger is %s", pending, late,
                  ledger == LEDGER_MEMORY ? "is lost" : "may be lost",
                  ledger == LEDGER_MEMORY ? "in memory" : "not safe");
    else
        log_warning(log, "usage: %zu keys' last_used %s; it waits in %s", pending, late,
                    on_disk ? config->usage_spill : config->usage_ledger);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flusher_start(arg);
}

void flusher_configure(struct flusher *flusher)
{
    int64_t interval_us = flusher->env->config->usage_flush_interval;

    /* A reload that changes nothing here must not put the next round off. */
    if (flusher->phase == IDLE && !flusher->connection_failed &&
        interval_us != flusher->interval_us)
        timer_start(&flusher->timer, interval_us);
    flusher->interval_us = interval_us;
}

void flusher_feed_is(struct flusher *flusher, bool usable)
{
    usage_session_feed_is(flusher->session, usable);
}

void flusher_feed_idle(struct flusher *flusher)
{
    usage_session_feed_idle(flusher->session);
}

size_t flusher_pending(const struct flusher *flusher)
{
    return (flusher->lent ? flusher->lent->len : flusher->pending.len) - flusher->settled;
}

void flusher_look(const struct flusher *flusher, struct metrics *metrics)
{
    uint64_t *value = metrics->value;
    size_t pending = flusher_pending(flusher);
    int64_t since_us = pending > 0 ? flusher->pending_since_us : flusher->front_since_us;
    struct stat status;

    value[METRIC_LEDGER_SAFE] = flusher->ledger.state == LEDGER_SAFE;
    value[METRIC_USAGE_PENDING] += pending;
    if (value[METRIC_USAGE_PENDING] > 0)
        value[METRIC_USAGE_OLDEST] = (uint64_t)(clock_monotonic_us() - since_us);
    if (fstat(flusher->setup.half->fd, &status) == 0)
        value[METRIC_LEDGER_BYTES] = (uint64_t)status.st_blocks * 512;
    value[METRIC_SPILL_BYTES] = (uint64_t)flusher->spill.size;
    value[METRIC_QUOTA_SUMS_WAITING] =
        flusher->counts ? count_writer_quotas_waiting(flusher->counts) : 0;
    value[METRIC_COUNTS_PENDING] = flusher->counts ? count_writer_rows(flusher->counts) : 0;
    value[METRIC_USAGE_UP] =
        flusher->wrote_all && flusher->proven && usage_owner_settled(&flusher->owner);
    value[METRIC_USAGE_DISK_BUSY] = (uint64_t)job_queue_busy_us(flusher->disk);
}

int64_t flusher_pending_last_used(const struct flusher *flusher, const struct row_id *api_key_id)
{
    const struct usage_slot *slot =
        usage_batch_find(flusher->lent ? flusher->lent : &flusher->pending, api_key_id);

    return slot ? slot->last_used_us : 0;
}

struct flusher *flusher_new(struct flusher_setup *setup)
{
    struct flusher *flusher = calloc(1, sizeof *flusher);

    if (!flusher) {
        usage_batch_free(&setup->spilled);
        return NULL;
    }
    flusher->setup = *setup;
    flusher->env = setup->env;
    flusher->pending = setup->spilled;
    spill_keeper_init(&flusher->spill, setup->env, setup->spill, &flusher->pending);
    usage_owner_init(&flusher->owner, setup->env, setup->ledger);
    ledger_keeper_init(&flusher->ledger, setup->env, setup->ledger, on_new_file, flusher);
    flusher->backoff = (struct backoff){.first_us = 200000, .max_us = 10000000};
    event_assign(&flusher->timer, flusher->env->base, -1, 0, on_timer, flusher);
    event_assign(&flusher->disk_timer, flusher->env->base, -1, 0, on_disk_slow, flusher);
    flusher->disk = job_queue_new(flusher->env->base, "apikeyd-disk");
    flusher->pending_since_us = flusher->front_since_us = clock_monotonic_us();
    take_half(flusher);
    flusher->connection_failed = flusher->lost = true; /* a round starts when the session is up */
    flusher_configure(flusher);
    timer_start(&flusher->timer, flusher->interval_us);
    flusher->session = usage_session_new(&(struct usage_session_setup){
        .env = flusher->env,
        .lend = setup->lend,
        .lend_arg = setup->arg,
        .on_ready = on_ready,
        .on_down = on_down,
        .arg = flusher,
    });
    if (flusher->env->config->usage_counts != USAGE_COUNTS_OFF)
        flusher->counts = count_writer_new(&(struct count_writer_setup){
            .env = flusher->env,
            .ledger = setup->ledger,
            .found = setup->counts,
            .on_progress = on_progress,
            .on_counts = on_counts,
            .arg = flusher,
        });
    bool counts = flusher->counts || flusher->env->config->usage_counts == USAGE_COUNTS_OFF;
    if (!flusher->session || !flusher->disk || !counts) {
        (void)flusher_free(flusher);
        return NULL;
    }
    return flusher;
}

bool flusher_free(struct flusher *flusher)
{
    if (!flusher)
        return true;
    flusher->phase = IDLE;
    flusher->drained = flusher->ending = true;
    bool files_free = job_queue_free(flusher->disk, disk_end_us);
    usage_session_free(flusher->session);
    count_writer_free(flusher->counts);
    reply_list_answer(&flusher->served, flusher->env, "shutting down", 0);
    reply_list_answer(&flusher->waiting, flusher->env, "shutting down", 0);
    event_del(&flusher->timer);
    event_del(&flusher->disk_timer);
    ledger_keeper_done(&flusher->ledger);
    usage_batch_free(&flusher->pending);
    usage_params_free(&flusher->params);
    free(flusher->sql);
    free(flusher);
    return files_free;
}
