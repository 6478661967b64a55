/* SPDX-License-Identifier: MIT */
#include "apikeyd/flusher.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event_struct.h>

#include "apikeyd/backoff.h"
#include "apikeyd/clock.h"
#include "apikeyd/usage_query.h"
#include "ledger_keeper.h"
#include "reply_list.h"
#include "spill_keeper.h"
#include "usage_owner.h"
#include "usage_session.h"

/* Longer than a lookup may take: nobody waits for it. */
static const int64_t statement_timeout_us = 10000000;

/* Refusals in one round after which chunks are no longer halved: enough to find a few rows at
 * fault, and an end where it is every row. */
enum { REFUSALS_MAX = 64 };

/* Times in one round that a session is asked for its store: one that leads to ever others is no
 * use. */
enum { ASKS_MAX = 8 };

enum phase { IDLE, SWAPPING, WRITING };

struct flusher {
    struct flusher_setup setup;
    struct back_env *env;
    struct usage_session *session;
    struct event timer;
    struct backoff backoff;
    int64_t interval_us; /* usage.flush_interval as it was last looked at */
    enum phase phase;
    int64_t front_since_us;   /* when the front got the half that it uses */
    int64_t pending_since_us; /* the oldest use in `pending` is not from before this */
    int64_t round_started_us;
    bool again; /* start another round when this one is over */
    bool draining, drained;
    bool last_swap; /* the drain has taken what the front held */

    struct usage_batch pending;
    struct ledger_keeper ledger;
    bool half_emptied; /* the half can be swapped; else its entries are in `pending` only */
    bool fresh_sent;   /* the swap under way gives the front a half of a new file */
    struct spill_keeper spill;
    struct usage_owner owner;
    bool proven;   /* the connection leads to the store that owns the ledger */
    bool taken;    /* what had been set aside for that is pending; its file is still there */
    unsigned asks; /* in this round */
    bool refused_said, hidden_said;

    size_t next, len;  /* the chunk under way in `pending` */
    size_t chunk_most; /* bound of a chunk, less than usage.batch after a refusal */
    size_t refusals;   /* in this round */
    size_t settled;    /* entries of `pending` that this round has emptied */
    bool connection_failed, statement_failed;
    uint64_t updated; /* rows of this round */
    bool clamped_said;
    char *sql;
    struct usage_params params;
    struct reply_list waiting, served; /* for the next round; for this one */
};

static void send_chunk(struct flusher *flusher);

static void note_clamped(struct flusher *flusher, uint64_t clamped)
{
    flusher->env->metrics.value[METRIC_USAGE_CLAMPED] += clamped;
    if (clamped == 0 || flusher->clamped_said)
        return;
    flusher->clamped_said = true;
    log_warning(&flusher->env->log,
                "usage: this host's clock is ahead of PostgreSQL's: last_used is written as "
                "PostgreSQL's now (logged once)");
}

static void start_timer(struct flusher *flusher, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);

    event_add(&flusher->timer, &delay);
}

static const char *failure_of(const struct flusher *flusher)
{
    if (flusher->connection_failed)
        return "postgres does not answer; usage stays pending";
    if (flusher->statement_failed)
        return "postgres refuses the update; usage stays pending";
    return NULL;
}

/* What was taken back is written, or in the spill file. */
static void drop_aside(struct flusher *flusher)
{
    char path[SPILL_PATH_SIZE];

    if (spill_aside_path(flusher->env->config->usage_spill, ledger_owner(flusher->setup.ledger),
                         path))
        (void)spill_remove(path);
    flusher->taken = false;
}

static void finish_round(struct flusher *flusher)
{
    const char *failure = failure_of(flusher);

    usage_batch_compact(&flusher->pending);
    flusher->settled = 0;
    flusher->pending.owner = *ledger_owner(flusher->setup.ledger);
    if (flusher->pending.len > 0)
        spill_keeper_keep(&flusher->spill, &flusher->pending);
    else
        spill_keeper_drop(&flusher->spill);
    if (flusher->spill.whole && flusher->taken)
        drop_aside(flusher);
    if (flusher->spill.whole) {
        ledger_half_clear(flusher->setup.half);
        flusher->half_emptied = true;
    }
    reply_list_answer(&flusher->served, flusher->env, failure, flusher->updated);
    histogram_record(&flusher->env->metrics.histogram[HISTOGRAM_FLUSH_TIME],
                     clock_monotonic_us() - flusher->round_started_us, 1);
    flusher->phase = IDLE;
    /* This round may have begun with what an earlier one left: the front's half comes then. */
    if (flusher->draining && !flusher->last_swap && flusher->half_emptied)
        flusher->again = true;
    if (flusher->draining && !flusher->again) {
        flusher->drained = true;
        flusher->setup.on_drained(flusher->setup.arg);
        return;
    }
    if (!failure) {
        backoff_reset(&flusher->backoff);
        flusher->refused_said = false;
    }
    start_timer(flusher, failure ? backoff_next(&flusher->backoff, arc4random())
                                 : flusher->env->config->usage_flush_interval);
    if (flusher->again)
        flusher_start(flusher);
}

/* A refused chunk keeps neither the other chunks nor, halved down to the row at fault, its own
 * rows back. */
static void take_refusal(struct flusher *flusher, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    if (result && message[0] && !flusher->refused_said)
        log_error(&flusher->env->log, "postgres (usage): %.*s", (int)strcspn(message, "\n"),
                  message);
    flusher->refused_said = flusher->refused_said || (result && message[0]);
    flusher->refusals++;
    if (flusher->len > 1 && flusher->refusals < REFUSALS_MAX &&
        usage_query_fault_of_a_row(result)) {
        flusher->chunk_most = flusher->len / 2;
        return;
    }
    if (flusher->refusals >= REFUSALS_MAX)
        flusher->chunk_most = flusher->env->config->usage_batch;
    flusher->statement_failed = true;
    flusher->next += flusher->len;
}

/* Whether the statement ran where this usage belongs, and saw all rows: else one that it did not
 * find may be there. */
static bool told_right(struct flusher *flusher, const PGresult *result)
{
    struct store_told told;
    struct store_id id;

    if (!usage_query_told(result, &told))
        return false;
    enum store_standing standing =
        stores_judge(&flusher->env->stores, &told.mark, told.standby, &id);
    bool usable = standing == STORE_CURRENT || standing == STORE_ELSEWHERE;
    if (!usable || !store_id_same_table(&id, ledger_owner(flusher->setup.ledger))) {
        flusher->proven = false;
        return false;
    }
    if (told.hidden && !flusher->hidden_said)
        log_error(&flusher->env->log, "postgres (usage): row security hides rows from the daemon's "
                                      "role; usage stays pending (logged once)");
    flusher->hidden_said = told.hidden;
    return !told.hidden;
}

static void on_written(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct flusher *flusher = arg;
    uint64_t *count = flusher->env->metrics.value;
    struct usage_slot *chunk = flusher->pending.slots + flusher->next;
    struct usage_outcome settled;

    if (outcome == PG_DONE && told_right(flusher, result) &&
        usage_query_settle(result, chunk, flusher->len, &settled)) {
        flusher->updated += settled.updated;
        flusher->settled += flusher->len - settled.locked;
        flusher->next += flusher->len;
        flusher->chunk_most *= 2;
        count[METRIC_USAGE_STATEMENTS]++;
        count[METRIC_USAGE_ROWS] += settled.updated;
        count[METRIC_USAGE_LOCKED] += settled.locked;
        note_clamped(flusher, settled.clamped);
    } else if (outcome == PG_DONE && !flusher->proven && flusher->asks < ASKS_MAX) {
        return; /* the session is asked where it leads, and the chunk sent again */
    } else {
        count[METRIC_USAGE_FAILURES]++;
        flusher->connection_failed = outcome == PG_LATE || outcome == PG_LOST;
        take_refusal(flusher, result);
    }
    if (flusher->connection_failed)
        finish_round(flusher);
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

    if (flusher->chunk_most > batch)
        flusher->chunk_most = batch;
    flusher->len = left < flusher->chunk_most ? left : flusher->chunk_most;
    histogram_record(&flusher->env->metrics.histogram[HISTOGRAM_USAGE_BATCH], (int64_t)flusher->len,
                     1);
    usage_query_bind(&query, &flusher->params, flusher->pending.slots + flusher->next, flusher->len,
                     flusher->env->config->usage_resolution);
    usage_session_send(flusher->session, &query);
}

static void on_asked(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct flusher *flusher = arg;
    struct stores *stores = &flusher->env->stores;
    struct store store;
    int64_t server_us;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED || !store_query_read(result, 0, &store, &server_us)) {
        usage_session_give_up(flusher->session, "it does not tell which store it leads to");
        return;
    }
    stores_learn(stores, &store);
    if (stores_outdated(stores, &store)) {
        usage_session_give_up(flusher->session, "a standby, or on an old timeline");
        return;
    }
    bool same = store_id_same_table(ledger_owner(flusher->setup.ledger), &store.id);
    if (store.plain &&
        usage_owner_take(&flusher->owner, &flusher->pending, &store.id, &flusher->taken)) {
        flusher->proven = true;
        flusher->next = 0;
        usage_batch_compact(&flusher->pending);
        flusher->settled = 0;
        flusher->spill.whole = flusher->spill.whole && same;
        return;
    }
    if (!store.plain && !flusher->refused_said)
        log_error(&flusher->env->log, "postgres (usage): postgres.table is not a table");
    flusher->refused_said = true;
    flusher->statement_failed = true;
    finish_round(flusher);
}

static void ask_store(struct flusher *flusher)
{
    struct pg_query query = {
        .timeout_us = statement_timeout_us,
        .done = on_asked,
        .arg = flusher,
    };

    flusher->asks++;
    store_query_bind(&query, flusher->env->config);
    usage_session_send(flusher->session, &query);
}

/* Go on with the round: the next chunk, the end, or nothing while a chunk is under way. */
static void go_on(struct flusher *flusher)
{
    if (flusher->phase != WRITING)
        return;
    if (usage_session_ready(flusher->session) && !flusher->proven && flusher->asks < ASKS_MAX) {
        ask_store(flusher);
    } else if (flusher->next >= flusher->pending.len) {
        finish_round(flusher);
    } else if (usage_session_ready(flusher->session)) {
        send_chunk(flusher);
    } else if (usage_session_down(flusher->session)) {
        flusher->connection_failed = true;
        finish_round(flusher);
    }
}

static void on_ready(void *arg)
{
    struct flusher *flusher = arg;

    /* Back after a loss, or there for the first time: what waits need not wait for the timer. */
    if (flusher->phase == IDLE && flusher->connection_failed)
        flusher_start(flusher);
    else
        go_on(flusher);
}

static void on_down(void *arg)
{
    struct flusher *flusher = arg;

    flusher->proven = false;
    go_on(flusher);
}

static void start_writing(struct flusher *flusher)
{
    flusher->phase = WRITING;
    flusher->round_started_us = clock_monotonic_us();
    flusher->next = 0;
    flusher->chunk_most = flusher->env->config->usage_batch;
    flusher->refusals = 0;
    flusher->settled = 0;
    flusher->updated = 0;
    flusher->connection_failed = false;
    flusher->statement_failed = false;
    flusher->asks = 0;
    free(flusher->sql);
    flusher->sql = usage_query_sql(flusher->env->config);
    if (!usage_owner_keep_for_earlier(&flusher->owner, &flusher->pending)) {
        flusher->statement_failed = true;
        finish_round(flusher);
        return;
    }
    go_on(flusher);
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
    event_del(&flusher->timer);
    struct ledger_half *fresh = ledger_fresh_half(flusher->setup.ledger);
    if (!fresh && !flusher->half_emptied) {
        start_writing(flusher);
        return;
    }
    flusher->phase = SWAPPING;
    flusher->fresh_sent = fresh != NULL;
    flusher->last_swap = flusher->draining;
    back_env_post(flusher->env, &(struct to_front){.type = TO_FRONT_SWAP,
                                                   .half = fresh ? fresh : flusher->setup.half});
}

static void memory_is_short(const struct flusher *flusher)
{
    log_error(&flusher->env->log, "usage: memory is short");
    abort(); /* all of it is in the ledger */
}

/* Take what the half holds, which was in use since `front_since_us`, into `pending`; it stays in
 * the half too. */
static void take_half(struct flusher *flusher)
{
    struct ledger_half *half = flusher->setup.half;

    flusher->half_emptied = half->used == 0;
    if (flusher->pending.len == 0)
        flusher->pending_since_us = flusher->front_since_us;
    flusher->front_since_us = clock_monotonic_us();
    if (half->used > 0)
        flusher->spill.whole = false;
    ledger_keeper_count(&flusher->ledger, half);
    if (!usage_batch_merge(&flusher->pending, half->slots, half->used))
        memory_is_short(flusher);
}

/* The front has gone on in a new file, and all that the old one held is in `pending`. */
static void take_new_file(struct flusher *flusher)
{
    struct ledger_half *half = ledger_keeper_succeed(&flusher->ledger, &flusher->pending);

    if (!half)
        memory_is_short(flusher);
    flusher->setup.half = half;
    flusher->half_emptied = half->used == 0;
    flusher->spill.whole = flusher->spill.whole && half->used == 0;
    flusher->fresh_sent = false;
}

void flusher_swapped(struct flusher *flusher, struct ledger_half *half)
{
    flusher->setup.half = half;
    flusher->env->metrics.value[METRIC_USAGE_SWAPS]++;
    take_half(flusher);
    if (flusher->fresh_sent)
        take_new_file(flusher);
    start_writing(flusher);
}

void flusher_request(struct flusher *flusher, uint64_t ask)
{
    reply_list_add(&flusher->waiting, ask);
    flusher_start(flusher);
}

void flusher_drain(struct flusher *flusher)
{
    flusher->draining = true;
    flusher_start(flusher);
}

static void on_new_file(void *arg)
{
    flusher_start(arg);
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
        start_timer(flusher, interval_us);
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
    return flusher->pending.len - flusher->settled;
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
    if (stat(flusher->env->config->usage_spill, &status) == 0)
        value[METRIC_SPILL_BYTES] = (uint64_t)status.st_size;
}

int64_t flusher_pending_last_used(const struct flusher *flusher, const struct uuid *api_key_id)
{
    const struct usage_slot *slot = usage_batch_find(&flusher->pending, api_key_id);

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
    flusher->backoff = (struct backoff){.first_us = 200000, .most_us = 10000000};
    event_assign(&flusher->timer, flusher->env->base, -1, 0, on_timer, flusher);
    flusher->pending_since_us = flusher->front_since_us = clock_monotonic_us();
    take_half(flusher);
    flusher->connection_failed = true; /* until it is there: start when it is */
    flusher_configure(flusher);
    start_timer(flusher, flusher->interval_us);
    flusher->session = usage_session_new(&(struct usage_session_setup){
        .env = flusher->env,
        .lend = setup->lend,
        .lend_arg = setup->arg,
        .on_ready = on_ready,
        .on_down = on_down,
        .arg = flusher,
    });
    if (!flusher->session) {
        flusher_free(flusher);
        return NULL;
    }
    return flusher;
}

void flusher_free(struct flusher *flusher)
{
    if (!flusher)
        return;
    flusher->phase = IDLE;
    flusher->drained = true;
    usage_session_free(flusher->session);
    reply_list_answer(&flusher->served, flusher->env, "shutting down", 0);
    reply_list_answer(&flusher->waiting, flusher->env, "shutting down", 0);
    event_del(&flusher->timer);
    ledger_keeper_done(&flusher->ledger);
    usage_batch_free(&flusher->pending);
    usage_params_free(&flusher->params);
    free(flusher->sql);
    free(flusher);
}
