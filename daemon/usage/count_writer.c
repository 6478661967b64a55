/* SPDX-License-Identifier: MIT */
#include "count_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/timer.h>

#include "count_parts.h"
#include "count_query.h"
#include "quota_reader.h"

/* Longer than a lookup may take: no request waits for counts. */
static const int64_t statement_timeout_us = 10000000;

/* A round of the flusher waits no longer for a statement. */
static const int64_t patience_us = 1000000;

/* A batch that waits grows no further: whole batches are dropped when too much waits. */
enum { MERGED_ROWS = COUNT_ROWS_MAX / 2 };

/* Batches that are added are kept so long, or fewer, in case PostgreSQL loses the commits. */
static const int64_t keep_us = 60000000;
static const int64_t row_kept_us = INT64_C(86400000000) - 2 * INT64_C(60000000);
enum { KEEP_ROWS = 1 << 18 }; /* 14 MiB */

struct count_writer {
    struct count_writer_setup setup;
    struct back_env *env;
    struct pg_connection *session;
    struct event retry, slow;
    struct backoff backoff;
    struct count_list waiting;   /* oldest first */
    struct count_list added;     /* likewise; kept for keep_us */
    struct count_batch *sending; /* one of `waiting`, or NULL */
    size_t done, end;            /* of that one: the rows between these are under way */
    struct count_parts parts;
    bool first_time;    /* this run sends it for the first time */
    bool suspects_lock; /* a statement was late: look before the next one */
    bool late;          /* the statement under way takes long */
    bool failing;       /* the last statement failed: the next one waits for the timer */
    bool writes_file;   /* what waits is being written to the file: nothing is merged */
    bool in_file;       /* the file has batches, waiting ones or others */
    bool wants_series;
    bool led; /* it is known where counts go: */
    struct store_mark mark;
    struct store_id owner;
    uint64_t noted; /* the number that PostgreSQL has noted of this run's series */
    bool failure_logged, file_logged, aside_logged;
    char refusal[200]; /* PostgreSQL's message about the row that it has refused last */
    char *sql[2];      /* by count_batch.only_known */
    char *sql_locks;
    struct count_params params;
    struct quota_reader *quotas; /* NULL: keys have none */
    uint32_t rounds;             /* halves that were taken */
    uint32_t summed;             /* … when the sums under way were asked for */
    bool looking;                /* a query for locks is under way … */
    bool summing;                /* … or a statement for quotas */
};

static bool of_this_run(const struct count_writer *writer, const struct count_batch *batch)
{
    return !batch->found &&
           memcmp(&batch->series, ledger_series(writer->setup.ledger), sizeof batch->series) == 0;
}

static void count_lost(struct count_writer *writer, const struct count_batch *batch)
{
    writer->env->metrics.value[METRIC_COUNTS_LOST] += count_batch_uses(batch);
}

/* Returns the batch to send next, or NULL. Those of other stores wait for these. A batch that is
 * the result of a merge, and goes in several transactions, has to be on disk as it is before the
 * first of them: a later run would send it in other pieces. */
static struct count_batch *next_batch(const struct count_writer *writer)
{
    struct count_batch *batch;

    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        if (!store_id_same_table(&batch->owner, &writer->owner))
            continue;
        if (count_parts_several(batch) && batch->first < batch->last && batch->safe != batch->last)
            return NULL;
        return batch;
    }
    return NULL;
}

/* The number that PostgreSQL must have noted before the next rows. Of batches that were found it is
 * not known. */
static uint64_t number_before(const struct count_batch *batch)
{
    return batch->done > 0 ? count_batch_number(batch, batch->done) : batch->after;
}

static void on_written(void *arg, enum pg_outcome outcome, const PGresult *result);
static void on_locks(void *arg, enum pg_outcome outcome, const PGresult *result);
static void on_sums(void *arg, enum pg_outcome outcome, const PGresult *result);

static void send_query(struct count_writer *writer, const char *sql, struct pg_query *query)
{
    query->sql = sql;
    query->timeout_us = statement_timeout_us;
    query->arg = writer;
    writer->late = false;
    timer_start(&writer->slow, patience_us);
    pg_connection_send(writer->session, query);
}

static bool is_asking(const struct count_writer *writer)
{
    return writer->sending || writer->looking || writer->summing;
}

/* Returns whether PostgreSQL has the counts of all halves that were taken. */
static bool all_added(const struct count_writer *writer)
{
    const struct count_batch *batch;

    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        if (store_id_same_table(&batch->owner, &writer->owner))
            return false;
    }
    return true;
}

static bool sums_due(const struct count_writer *writer)
{
    return writer->quotas && quota_reader_due(writer->quotas) && all_added(writer);
}

static void send_sums(struct count_writer *writer)
{
    struct pg_query query = {.done = on_sums};

    writer->summing = true;
    writer->summed = writer->rounds;
    quota_reader_bind(writer->quotas, &query, &writer->mark);
    send_query(writer, query.sql, &query);
}

static void look_for_locks(struct count_writer *writer)
{
    struct pg_query query = {.done = on_locks};

    writer->looking = true;
    send_query(writer, writer->sql_locks, &query);
}

static void send_batch(struct count_writer *writer, struct count_batch *batch)
{
    struct pg_query query = {.done = on_written};

    writer->sending = batch;
    writer->done = batch->done;
    writer->end = count_parts_end(&writer->parts, batch);
    writer->first_time = !batch->sent;
    if (writer->first_time && of_this_run(writer, batch))
        batch->after = writer->noted;
    batch->sent = true;
    count_query_bind(&query, &writer->params, batch, writer->end, number_before(batch),
                     &writer->mark);
    send_query(writer, writer->sql[batch->only_known], &query);
}

static void send_next(struct count_writer *writer)
{
    struct count_batch *batch = writer->led ? next_batch(writer) : NULL;

    if (!writer->led || is_asking(writer) || writer->failing ||
        !pg_connection_ready(writer->session) || (!batch && !sums_due(writer)))
        return;
    if (writer->suspects_lock)
        look_for_locks(writer);
    else if (batch)
        send_batch(writer, batch);
    else
        send_sums(writer);
}

/* Drop what has been added for long, and for lack of room. */
static void trim_added(struct count_writer *writer)
{
    int64_t now_us = clock_monotonic_us();

    for (struct count_batch *first; (first = TAILQ_FIRST(&writer->added));) {
        if (now_us < first->kept_until_us && count_list_rows(&writer->added) <= KEEP_ROWS)
            return;
        TAILQ_REMOVE(&writer->added, first, in_list);
        count_batch_free(first);
    }
}

/* An idle run's row may have been deleted since: `usage maintain` deletes those older than a day at
 * the least. Then PostgreSQL does not know any more that it has these. */
static void drop_ancient(struct count_writer *writer)
{
    int64_t ancient_us = clock_monotonic_us() - row_kept_us;

    for (struct count_batch *first;
         (first = TAILQ_FIRST(&writer->added)) && first->kept_until_us < ancient_us;) {
        TAILQ_REMOVE(&writer->added, first, in_list);
        count_batch_free(first);
    }
}

/* PostgreSQL may have lost commits: send again what was added lately. It ignores what it has.
 * Returns whether there is something. */
static bool send_again(struct count_writer *writer)
{
    struct count_batch *batch;

    drop_ancient(writer);
    if (TAILQ_EMPTY(&writer->added))
        return false;
    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        count_parts_begin_again(batch);
    }
    TAILQ_FOREACH(batch, &writer->added, in_list)
    {
        count_parts_begin_again(batch);
    }
    TAILQ_CONCAT(&writer->added, &writer->waiting, in_list);
    TAILQ_CONCAT(&writer->waiting, &writer->added, in_list);
    return true;
}

/* Rows that PostgreSQL refuses are passed over now. The log is where they are kept. */
static void tell_refused(struct count_writer *writer, const struct count_batch *batch)
{
    for (size_t i = batch->done; i < batch->done + batch->refused; i++) {
        const struct count_row *row = &batch->rows[i];
        char id[ID_TEXT_MAX], hour[sizeof "2026-01-01 00:00"];
        time_t at = (time_t)row->hour * 3600;
        struct tm fields;
        size_t len = row_id_to_text(&row->id, batch->type, id);

        strftime(hour, sizeof hour, "%F %H:%M", gmtime_r(&at, &fields));
        writer->env->metrics.value[METRIC_COUNTS_LOST] += row->uses;
        log_error(&writer->env->log,
                  "usage: PostgreSQL refuses the counts of key %.*s: %s; its %" PRIu64
                  " uses (%s) of %s UTC are not added",
                  (int)len, id, writer->refusal, row->uses, count_query_verdict(row->verdict),
                  hour);
    }
}

/* The first `rows` rows are in the table, but for those that are refused. */
static void take_added(struct count_writer *writer, struct count_batch *batch, size_t rows)
{
    uint64_t number = count_batch_number(batch, rows);

    tell_refused(writer, batch);
    count_parts_take(&writer->parts, batch, rows);
    if (of_this_run(writer, batch) && writer->noted < number)
        writer->noted = number;
    if (rows < batch->len)
        return;
    batch->kept_until_us = clock_monotonic_us() + keep_us;
    batch->safe = 0; /* the next file will not have it */
    batch->in_image = false;
    TAILQ_REMOVE(&writer->waiting, batch, in_list);
    TAILQ_INSERT_TAIL(&writer->added, batch, in_list);
    trim_added(writer);
}

/* This run sends the batch for the first time, and PostgreSQL has its number: another daemon counts
 * with a copy of this one's memory. */
static void take_conflict(struct count_writer *writer, struct count_batch *batch)
{
    log_error(&writer->env->log,
              "usage: PostgreSQL has counts of this daemon's ledger that this daemon has not sent: "
              "another daemon runs on a copy of it; %" PRIu64
              " uses are not added, and the ledger gets another id",
              count_batch_uses(batch));
    count_lost(writer, batch);
    writer->wants_series = true;
    TAILQ_REMOVE(&writer->waiting, batch, in_list);
    count_batch_free(batch);
}

/* PostgreSQL notes less than it did. */
static void take_gap(struct count_writer *writer, struct count_batch *batch, uint64_t number)
{
    if (batch->done > 0) {
        count_parts_begin_again(batch);
        return;
    }
    if (send_again(writer)) {
        log_warning(&writer->env->log,
                    "usage: PostgreSQL has lost commits: counts of the last minute "
                    "are sent again");
        return;
    }
    if (number == 0)
        log_warning(&writer->env->log,
                    "usage: PostgreSQL has no row of this run in postgres.ledger_table any more: "
                    "`usage maintain` has deleted it, or counts are lost that are no longer kept");
    else
        log_error(&writer->env->log,
                  "usage: PostgreSQL has lost counts that are no longer kept: it notes number "
                  "%" PRIu64 ", and had noted %" PRIu64,
                  number, batch->after);
    batch->after = number;
}

static void try_later(struct count_writer *writer)
{
    writer->failing = true;
    timer_retry(&writer->retry, &writer->backoff);
}

static void fail(struct count_writer *writer, const char *why)
{
    writer->env->metrics.value[METRIC_COUNTS_FAILURES]++;
    try_later(writer);
    if (!writer->failure_logged)
        log_error(&writer->env->log, "postgres (counts): %.*s; counts stay pending (logged once)",
                  (int)strcspn(why, "\n"), why);
    writer->failure_logged = true;
}

/* Returns how many rows of the batch are added by the number that PostgreSQL has. */
static size_t rows_of_number(const struct count_batch *batch, uint64_t number)
{
    return number >= count_batch_number(batch, batch->len)
               ? batch->len
               : (size_t)(number - count_batch_number(batch, 0));
}

static void take_result(struct count_writer *writer, struct count_batch *batch,
                        const PGresult *result)
{
    struct count_outcome outcome;

    if (!count_query_read(result, &outcome)) {
        fail(writer, "the answer has another form than expected");
    } else if (!store_mark_equal(&outcome.told.mark, &writer->mark) || outcome.told.standby) {
        writer->led = false; /* nothing was written; the session for usage tells where it belongs */
        pg_connection_give_up(writer->session, "it does not lead to where lookups are answered");
    } else if (outcome.added) {
        writer->env->metrics.value[METRIC_COUNTS_ROWS] += outcome.rows;
        take_added(writer, batch, writer->end);
    } else if (outcome.number > count_batch_number(batch, batch->done)) {
        if (writer->first_time)
            take_conflict(writer, batch);
        else
            take_added(writer, batch, rows_of_number(batch, outcome.number));
    } else if (outcome.number < number_before(batch)) {
        take_gap(writer, batch, outcome.number);
    } else {
        try_later(writer); /* a statement of before, which was late, has just been committed */
    }
}

/* PostgreSQL takes none of the batch's rows. Those of later halves, which are added to it, may show
 * that others are taken; but not while a statement of before, whose end is not known, may still add
 * the batch as it is. Such a batch, and what an earlier run has sent, lets other series pass. */
static void hold(struct count_writer *writer, struct count_batch *batch)
{
    struct count_batch *next = TAILQ_NEXT(batch, in_list), *const first = batch;

    if (of_this_run(writer, batch) && batch->done == 0) {
        if (batch->in_doubt) {
            writer->wants_series = true; /* under which later halves pass it */
            return;
        }
        batch->sent = false;
        if (writer->writes_file || !next || next->sent || !of_this_run(writer, next) ||
            !store_id_same_table(&batch->owner, &next->owner))
            return;
        TAILQ_REMOVE(&writer->waiting, next, in_list);
        if (!count_batch_merge(batch, next, MERGED_ROWS))
            TAILQ_INSERT_AFTER(&writer->waiting, batch, next, in_list);
    } else if (batch->found || !of_this_run(writer, batch)) {
        do {
            next = TAILQ_NEXT(batch, in_list);
            TAILQ_REMOVE(&writer->waiting, batch, in_list);
            TAILQ_INSERT_TAIL(&writer->waiting, batch, in_list);
            batch = next;
        } while (batch && batch != first &&
                 memcmp(&batch->series, &first->series, sizeof first->series) == 0);
    }
}

/* A rejected statement is halved down to the row at fault, as that of last_used. */
static void take_refusal(struct count_writer *writer, struct count_batch *batch,
                         const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    if (count_query_key_gone(result) && !batch->only_known) {
        batch->only_known = true;
        return;
    }
    snprintf(writer->refusal, sizeof writer->refusal, "%.*s", (int)strcspn(message, "\n"), message);
    if (!count_query_row_refused(result)) {
        fail(writer, message);
    } else if (count_parts_refuse(&writer->parts, batch, writer->end)) {
        writer->env->metrics.value[METRIC_COUNTS_FAILURES]++;
    } else {
        hold(writer, batch);
        fail(writer, message);
    }
}

static void on_written(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct count_writer *writer = arg;
    struct count_batch *batch = writer->sending;

    writer->sending = NULL;
    event_del(&writer->slow);
    batch->in_doubt = batch->in_doubt || outcome == PG_LATE || outcome == PG_LOST;
    if (batch->done != writer->done) {
        /* The batch has begun anew meanwhile. */
    } else if (outcome == PG_DONE) {
        take_result(writer, batch, result);
    } else if (outcome == PG_REFUSED) {
        take_refusal(writer, batch, result);
    } else if (outcome == PG_LATE) {
        writer->suspects_lock = true;
        fail(writer, "the statement is late");
    }
    if (outcome == PG_DONE && !writer->failing) {
        backoff_reset(&writer->backoff);
        writer->failure_logged = false;
    }
    writer->setup.on_progress(writer->setup.arg);
}

/* A statement that waits for a lock of a table has no lock timeout yet, and waits on when its
 * session has been given up. So there is one of them, and the next one is sent when nobody has such
 * a lock. */
static void on_locks(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct count_writer *writer = arg;

    writer->looking = false;
    event_del(&writer->slow);
    if (outcome == PG_DONE && count_query_unlocked(result))
        writer->suspects_lock = false;
    else if (outcome == PG_DONE)
        fail(writer, "the table of counts is locked");
    else if (outcome != PG_LOST)
        fail(writer, outcome == PG_LATE ? "a query is late" : PQresultErrorMessage(result));
    writer->setup.on_progress(writer->setup.arg);
}

/* What is wrong with sums holds up no counts, but for a lock, which both wait for. */
static void on_sums(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct count_writer *writer = arg;

    writer->summing = false;
    event_del(&writer->slow);
    if (outcome == PG_REFUSED) {
        quota_reader_fail(writer->quotas, PQresultErrorMessage(result));
    } else if (outcome == PG_LATE) {
        writer->suspects_lock = true;
        quota_reader_fail(writer->quotas, "the statement is late");
    } else if (outcome == PG_DONE && !quota_reader_take(writer->quotas, result, writer->summed)) {
        writer->led = false;
        pg_connection_give_up(writer->session, "it does not lead to where lookups are answered");
    }
    writer->setup.on_progress(writer->setup.arg);
}

static void on_due(void *arg)
{
    send_next(arg);
}

static void on_ready(void *arg)
{
    struct count_writer *writer = arg;

    send_next(writer);
    writer->setup.on_progress(writer->setup.arg);
}

static void on_down(void *arg)
{
    struct count_writer *writer = arg;

    writer->setup.on_progress(writer->setup.arg);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct count_writer *writer = arg;

    (void)fd;
    (void)what;
    writer->failing = false;
    send_next(writer);
}

static void on_slow(evutil_socket_t fd, short what, void *arg)
{
    struct count_writer *writer = arg;

    (void)fd;
    (void)what;
    writer->late = true;
    writer->setup.on_progress(writer->setup.arg);
}

/* Too many rows wait: the oldest ones that are not under way go. */
static void bound(struct count_writer *writer)
{
    size_t rows = count_list_rows(&writer->waiting);
    struct count_batch *batch = TAILQ_FIRST(&writer->waiting);

    while (batch && rows > COUNT_ROWS_MAX) {
        struct count_batch *next = TAILQ_NEXT(batch, in_list);

        if (batch != writer->sending && next) {
            log_error(&writer->env->log,
                      "usage: more than %d rows of counts wait: the oldest %zu, of %" PRIu64
                      " uses, are dropped",
                      COUNT_ROWS_MAX, batch->len, count_batch_uses(batch));
            count_lost(writer, batch);
            rows -= batch->len;
            TAILQ_REMOVE(&writer->waiting, batch, in_list);
            count_batch_free(batch);
        }
        batch = next;
    }
}

bool count_writer_take(struct count_writer *writer, const struct ledger_half *half,
                       const struct store_id *owner)
{
    struct count_batch *last = TAILQ_LAST(&writer->waiting, count_list);
    struct count_batch *batch;

    writer->rounds++;
    if (!count_batch_from_half(half, ledger_series(writer->setup.ledger), &batch))
        return false;
    if (!batch)
        return true;
    batch->owner = *owner;
    writer->setup.on_counts(writer->setup.arg, batch);
    if (!last || last->sent || !of_this_run(writer, last) ||
        !store_id_same_table(&last->owner, owner) || !count_batch_merge(last, batch, MERGED_ROWS))
        TAILQ_INSERT_TAIL(&writer->waiting, batch, in_list);
    bound(writer);
    send_next(writer);
    return true;
}

/* Returns whether one of the list has all that the batch has. */
static bool is_in(const struct count_list *list, const struct count_batch *batch)
{
    const struct count_batch *other;

    TAILQ_FOREACH(other, list, in_list)
    {
        if (count_batch_contains(other, batch))
            return true;
    }
    return false;
}

/* The file beside the ledger, which was read too, may hold what this writer has put there. */
void count_writer_find(struct count_writer *writer)
{
    struct count_list found = TAILQ_HEAD_INITIALIZER(found);

    ledger_take_counts(writer->setup.ledger, &found);
    for (struct count_batch *batch; (batch = TAILQ_FIRST(&found));) {
        TAILQ_REMOVE(&found, batch, in_list);
        if (is_in(&writer->waiting, batch) || is_in(&writer->added, batch))
            count_batch_free(batch);
        else
            TAILQ_INSERT_TAIL(&writer->waiting, batch, in_list);
    }
}

/* Batches from before it was known where usage belongs belong there. */
static void adopt(struct count_writer *writer)
{
    struct count_batch *batch;
    bool others = false;

    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        if (!store_id_known(&batch->owner))
            batch->owner = writer->owner;
        others = others || !store_id_same_table(&batch->owner, &writer->owner);
    }
    if (others && !writer->aside_logged)
        log_warning(&writer->env->log, "usage: counts of another database wait until lookups are "
                                       "answered from it again (logged once)");
    writer->aside_logged = others;
}

void count_writer_lead(struct count_writer *writer, const struct store_mark *mark,
                       const struct store_id *owner)
{
    if (!store_id_same_table(&writer->owner, owner)) {
        writer->noted = 0;
        count_list_free(&writer->added);
    }
    writer->led = true;
    writer->owner = *owner;
    adopt(writer);
    /* Another run of the server, or another server: it may have lost the last commits. */
    if (!store_mark_equal(&writer->mark, mark))
        (void)send_again(writer);
    writer->mark = *mark;
    send_next(writer);
}

bool count_writer_busy(const struct count_writer *writer)
{
    if (!writer->led || writer->failing || writer->late || !pg_connection_up(writer->session))
        return false;
    return writer->sending || next_batch(writer);
}

static bool is_saved(const struct count_list *waiting)
{
    const struct count_batch *batch;

    TAILQ_FOREACH(batch, waiting, in_list)
    {
        if (batch->safe != batch->last)
            return false;
    }
    return true;
}

enum count_order count_writer_order(struct count_writer *writer, struct buffer *image)
{
    struct count_batch *batch;

    if (TAILQ_EMPTY(&writer->waiting))
        return writer->in_file ? COUNTS_REMOVE : COUNTS_LEAVE;
    if (is_saved(&writer->waiting))
        return COUNTS_LEAVE;
    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        batch->in_image = true;
    }
    count_file_image(&writer->waiting, image);
    writer->writes_file = true;
    return COUNTS_WRITE;
}

void count_writer_saved(struct count_writer *writer, enum count_order order, int error)
{
    struct count_batch *batch;

    if (order == COUNTS_LEAVE)
        return;
    writer->writes_file = false;
    if (error < 0) {
        if (!writer->file_logged)
            log_warning(&writer->env->log,
                        "usage: counts that wait cannot be written to a file: %s; they stay in the "
                        "ledger (logged once)",
                        strerror(-error));
        writer->file_logged = true;
        return;
    }
    writer->file_logged = false;
    writer->in_file = order == COUNTS_WRITE;
    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        if (batch->in_image)
            batch->safe = batch->last;
    }
    send_next(writer);
}

const char *count_writer_failure(const struct count_writer *writer)
{
    const struct count_batch *batch;

    TAILQ_FOREACH(batch, &writer->waiting, in_list)
    {
        if (writer->led && !store_id_same_table(&batch->owner, &writer->owner))
            continue;
        return writer->failing || writer->late
                   ? "postgres does not take counts; they stay pending"
                   : "postgres has not taken all counts yet; they stay pending";
    }
    return NULL;
}

bool count_writer_wants_series(struct count_writer *writer)
{
    bool wants = writer->wants_series;

    writer->wants_series = false;
    writer->noted = wants ? 0 : writer->noted;
    return wants;
}

void count_writer_ask_quota(struct count_writer *writer, const struct row_id *id)
{
    if (writer->quotas)
        quota_reader_add(writer->quotas, id);
}

size_t count_writer_quotas_waiting(const struct count_writer *writer)
{
    return writer->quotas ? quota_reader_waiting(writer->quotas) : 0;
}

size_t count_writer_rows(const struct count_writer *writer)
{
    return count_list_rows(&writer->waiting);
}

struct count_writer *count_writer_new(const struct count_writer_setup *setup)
{
    struct count_writer *writer = calloc(1, sizeof *writer);

    if (!writer)
        return NULL;
    writer->setup = *setup;
    writer->env = setup->env;
    TAILQ_INIT(&writer->waiting);
    TAILQ_INIT(&writer->added);
    TAILQ_CONCAT(&writer->waiting, setup->found, in_list);
    writer->in_file = true; /* perhaps */
    writer->backoff = (struct backoff){.first_us = 200000, .max_us = 10000000};
    writer->sql[false] = count_query_sql(writer->env->config, false);
    writer->sql[true] = count_query_sql(writer->env->config, true);
    writer->sql_locks = count_query_locks_sql(writer->env->config);
    event_assign(&writer->retry, writer->env->base, -1, 0, on_retry, writer);
    event_assign(&writer->slow, writer->env->base, -1, 0, on_slow, writer);
    writer->session = pg_connection_new(&(struct pg_connection_setup){
        .env = writer->env,
        .purpose = "counts",
        .rank = PG_RANK_SPARE,
        .dsn = writer->env->config->postgres_dsn,
        .waits_when_late = true, /* it may be behind a lock of the table */
        .on_ready = on_ready,
        .on_down = on_down,
        .renews_when_denied = true,
        .arg = writer,
    });
    if (config_has_quotas(writer->env->config))
        writer->quotas = quota_reader_new(writer->env, on_due, writer);
    if (!writer->session || (config_has_quotas(writer->env->config) && !writer->quotas)) {
        count_writer_free(writer);
        return NULL;
    }
    return writer;
}

static void ignore(void *arg)
{
    (void)arg;
}

void count_writer_free(struct count_writer *writer)
{
    if (!writer)
        return;
    writer->setup.on_progress = ignore;
    pg_connection_free(writer->session);
    event_del(&writer->retry);
    event_del(&writer->slow);
    count_list_free(&writer->waiting);
    count_list_free(&writer->added);
    count_params_free(&writer->params);
    free(writer->sql[false]);
    free(writer->sql[true]);
    free(writer->sql_locks);
    quota_reader_free(writer->quotas);
    free(writer);
}
