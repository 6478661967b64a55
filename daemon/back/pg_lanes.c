/* SPDX-License-Identifier: MIT */
#include "pg_lanes.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/key_query.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/pg_connection.h"
#include "fair_queue.h"
#include "lookup_index.h"

/* A connection and the batch that it carries out. */
struct lane {
    struct pg_lanes *lanes;
    struct pg_connection *connection;
    struct lookup_list lookups;
    size_t len;
    int64_t sent_us;
    struct lookup_index index;
    struct buffer keys; /* the text[] parameter */
};

struct pg_lanes {
    struct pg_lanes_setup setup;
    struct back_env *env;
    struct fair_queue waiting;
    struct event deadline;
    bool deadline_armed;
    bool refused_said; /* in the log */
    bool down;         /* as was told */
    char *sql;
    size_t count;
    struct lane lane[];
};

static void fail(struct pg_lanes *lanes, struct lookup *lookup, const char *why)
{
    lanes->setup.failed(lanes->setup.arg, lookup, why);
}

/* What is wrong with all connections at once, or NULL while one of them may still answer. */
static const char *all_down(const struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        const struct pg_connection *connection = lanes->lane[i].connection;

        if (connection && !pg_connection_down(connection))
            return NULL;
    }
    return "postgres is down";
}

static void tell_whether_down(struct pg_lanes *lanes)
{
    bool down = all_down(lanes) != NULL;

    if (down != lanes->down)
        lanes->setup.on_down(lanes->setup.arg, down);
    lanes->down = down;
}

/* Arm the timer for the lookup that has waited longest for a connection. */
static void arm_deadline(struct pg_lanes *lanes)
{
    const struct lookup *urgent =
        lanes->deadline_armed ? NULL : fair_queue_most_urgent(&lanes->waiting);

    if (!urgent)
        return;
    int64_t wait_us = urgent->deadline_us - clock_monotonic_us();
    struct timeval delay = clock_timeval(wait_us > 0 ? wait_us : 0);
    lanes->deadline_armed = true;
    event_add(&lanes->deadline, &delay);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct pg_lanes *lanes = arg;
    int64_t now_us = clock_monotonic_us();

    (void)fd;
    (void)what;
    lanes->deadline_armed = false;
    for (struct lookup *lookup;
         (lookup = fair_queue_most_urgent(&lanes->waiting)) && lookup->deadline_us <= now_us;) {
        fair_queue_remove(&lanes->waiting, lookup);
        fail(lanes, lookup, "postgres timeout");
    }
    arm_deadline(lanes);
}

void pg_lanes_add(struct pg_lanes *lanes, struct lookup *lookup)
{
    const char *down = all_down(lanes);

    if (down) {
        fail(lanes, lookup, down);
        return;
    }
    lookup->deadline_us = clock_monotonic_us() + lanes->env->config->postgres_timeout;
    fair_queue_add(&lanes->waiting, lookup);
}

static void take_row(struct lane *lane, const struct key_row *row)
{
    struct lookup *lookup;
    size_t place = 0;

    while ((lookup = lookup_index_next(&lane->index, row->key, &place)))
        key_query_combine(&lookup->finding, row);
}

/* Put the rows together, each with its lookups, before the first of these is answered. */
static void take_rows(struct lane *lane, struct lookup_list *lookups, const PGresult *result)
{
    struct pg_lanes *lanes = lane->lanes;
    int64_t now_us = clock_monotonic_us();
    struct lookup *lookup;
    struct key_row row;

    lanes->refused_said = false;
    histogram_record(&lanes->env->metrics.histogram[HISTOGRAM_POSTGRES_TIME],
                     now_us - lane->sent_us, 1);
    for (int i = 0; i < PQntuples(result); i++) {
        key_query_row(result, i, &row);
        if (i == 0)
            pg_clock_sample(&lanes->env->clock, lane->sent_us, now_us, row.server_read_us);
        take_row(lane, &row);
    }
    while ((lookup = lookup_list_take(lookups)))
        lanes->setup.answered(lanes->setup.arg, lookup, &lookup->finding.verdict,
                              lookup->finding.server_read_us);
}

static void log_refusal(struct pg_lanes *lanes, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    if (!lanes->refused_said)
        log_error(&lanes->env->log, "postgres (lookups): %.*s", (int)strcspn(message, "\n"),
                  message[0] ? message : "rows of an unexpected form");
    lanes->refused_said = true;
}

/* Text that the server's encoding does not have: character_not_in_repertoire and
 * untranslatable_character. */
static bool is_bad_text(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && (strcmp(state, "22021") == 0 || strcmp(state, "22P05") == 0);
}

/* The server refused the statement. Bad text is the fault of one key, which must not fail the
 * others: each half is asked again, down to that key, which then cannot be in the table. */
static void take_refusal(struct lane *lane, struct lookup_list *lookups, size_t len,
                         const PGresult *result)
{
    const struct verdict unknown = {.kind = VERDICT_DENY_UNKNOWN, .read_at_us = lane->sent_us};
    struct pg_lanes *lanes = lane->lanes;
    bool bad_text = is_bad_text(result);
    struct lookup *lookup;

    if (!bad_text)
        log_refusal(lanes, result);
    while ((lookup = lookup_list_take(lookups))) {
        if (!bad_text) {
            fail(lanes, lookup, "postgres error");
        } else if (len == 1) {
            lanes->setup.answered(lanes->setup.arg, lookup, &unknown, 0);
        } else {
            lookup->batch_most = len / 2;
            pg_lanes_add(lanes, lookup);
        }
    }
}

/* A session that the server ended is no answer, but the next one may have it. If the server ended
 * all of them, each can break once before one is made anew. */
static void take_loss(struct pg_lanes *lanes, struct lookup_list *lookups, enum pg_outcome outcome)
{
    struct lookup *lookup;

    while ((lookup = lookup_list_take(lookups))) {
        if (outcome == PG_LATE || lookup->losses++ > lanes->count) {
            fail(lanes, lookup,
                 outcome == PG_LATE ? "postgres timeout" : "postgres connection lost");
        } else {
            pg_lanes_add(lanes, lookup);
        }
    }
}

static void on_result(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct lane *lane = arg;
    struct lookup_list lookups;
    size_t len = lane->len;

    /* The lane is free again: answers may hand lookups in anew. */
    TAILQ_INIT(&lookups);
    TAILQ_CONCAT(&lookups, &lane->lookups, in_list);
    lane->len = 0;
    explicit_bzero(lane->keys.data, lane->keys.cap);
    if (!result)
        take_loss(lane->lanes, &lookups, outcome);
    else if (outcome == PG_DONE && key_query_valid(result))
        take_rows(lane, &lookups, result);
    else
        take_refusal(lane, &lookups, len, result);
    arm_deadline(lane->lanes);
}

/* Take those of the waiting whose turn it is, as many as may go into one batch. */
static void gather(struct lane *lane)
{
    struct fair_queue *waiting = &lane->lanes->waiting;
    size_t most = lane->lanes->env->config->postgres_batch;

    for (struct lookup *next; (next = fair_queue_first(waiting)); lane->len++) {
        if (next->batch_most > 0 && next->batch_most < most)
            most = next->batch_most;
        if (lane->len >= most)
            return;
        (void)fair_queue_take(waiting);
        TAILQ_INSERT_TAIL(&lane->lookups, next, in_list);
    }
}

static void send_batch(struct lane *lane)
{
    struct pg_lanes *lanes = lane->lanes;
    struct pg_query query = {
        .sql = lanes->sql,
        .params = 1,
        .timeout_us = lanes->env->config->postgres_timeout,
        .done = on_result,
        .arg = lane,
    };
    struct key_finding unknown = {.verdict.kind = VERDICT_DENY_UNKNOWN};
    struct lookup *lookup;

    /* Before it is sent: the verdicts are at least as old as this says. */
    lane->sent_us = unknown.verdict.read_at_us = clock_monotonic_us();
    gather(lane);
    lookup_index_reset(&lane->index, lane->len);
    buffer_consume(&lane->keys, lane->keys.len);
    /* All at once: growing would leave a copy of the keys behind. */
    buffer_reserve(&lane->keys, 20 + lane->len * (4 + KEY_LEN_MAX));
    pg_array_begin(&lane->keys, PG_TEXT, lane->len);
    TAILQ_FOREACH(lookup, &lane->lookups, in_list)
    {
        lookup->finding = unknown;
        lookup_index_add(&lane->index, lookup);
        pg_array_element(&lane->keys, lookup->request.key, lookup->request.key_len);
    }
    query.param[0] = (struct pg_param){PG_TEXT_ARRAY, buffer_held(&lane->keys)};
    lanes->env->metrics.value[METRIC_POSTGRES_SELECTS]++;
    lanes->env->metrics.value[METRIC_POSTGRES_KEYS] += lane->len;
    histogram_record(&lanes->env->metrics.histogram[HISTOGRAM_POSTGRES_BATCH], (int64_t)lane->len,
                     1);
    pg_connection_send(lane->connection, &query);
}

void pg_lanes_go(struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];

        if (lane->connection && lanes->waiting.len > 0 && pg_connection_ready(lane->connection))
            send_batch(lane);
    }
    arm_deadline(lanes);
}

static void on_clock(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct lane *lane = arg;

    if (outcome == PG_DONE && PQgetlength(result, 0, 0) == 8)
        pg_clock_sample(&lane->lanes->env->clock, lane->sent_us, clock_monotonic_us(),
                        pg_get_int64(PQgetvalue(result, 0, 0)) + PG_EPOCH_US);
}

static void read_clock(struct lane *lane)
{
    struct pg_query query = {
        .sql = "SELECT statement_timestamp()",
        .timeout_us = lane->lanes->env->config->postgres_timeout,
        .done = on_clock,
        .arg = lane,
    };

    lane->sent_us = clock_monotonic_us();
    pg_connection_send(lane->connection, &query);
}

static void on_ready(void *arg)
{
    struct lane *lane = arg;

    tell_whether_down(lane->lanes);
    /* Verdicts in Redis cannot be dated before PostgreSQL's clock has been read once. */
    if (!lane->lanes->env->clock.known && lane->lanes->waiting.len == 0)
        read_clock(lane);
    pg_lanes_go(lane->lanes);
}

static void on_down(void *arg)
{
    struct lane *lane = arg;
    const char *down = all_down(lane->lanes);
    struct lookup *lookup;

    tell_whether_down(lane->lanes);
    while (down && (lookup = fair_queue_take(&lane->lanes->waiting)))
        fail(lane->lanes, lookup, down);
    /* What this lane gave back another one may take. */
    pg_lanes_go(lane->lanes);
}

void pg_lanes_probe(struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (pg_connection_ready(lanes->lane[i].connection))
            read_clock(&lanes->lane[i]);
        else
            pg_connection_retry(lanes->lane[i].connection);
    }
}

size_t pg_lanes_up(const struct pg_lanes *lanes)
{
    size_t up = 0;

    for (size_t i = 0; i < lanes->count; i++)
        up += pg_connection_up(lanes->lane[i].connection);
    return up;
}

static bool open_lane(struct lane *lane, struct pg_lanes *lanes)
{
    lane->lanes = lanes;
    TAILQ_INIT(&lane->lookups);
    lane->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = lanes->env,
        .purpose = "lookups",
        .dsn = lanes->env->config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .arg = lane,
    });
    return lane->connection != NULL;
}

struct pg_lanes *pg_lanes_new(const struct pg_lanes_setup *setup)
{
    size_t count = setup->env->config->postgres_connections;
    struct pg_lanes *lanes = calloc(1, sizeof *lanes + count * sizeof lanes->lane[0]);

    if (!lanes)
        return NULL;
    lanes->setup = *setup;
    lanes->env = setup->env;
    fair_queue_init(&lanes->waiting);
    event_assign(&lanes->deadline, lanes->env->base, -1, 0, on_deadline, lanes);
    lanes->sql = key_query_sql(lanes->env->config);
    while (lanes->count < count && open_lane(&lanes->lane[lanes->count], lanes))
        lanes->count++;
    if (!lanes->sql || lanes->count < count) {
        pg_lanes_free(lanes);
        return NULL;
    }
    return lanes;
}

void pg_lanes_free(struct pg_lanes *lanes)
{
    struct lookup *lookup;

    if (!lanes)
        return;
    for (size_t i = 0; i < lanes->count; i++) {
        struct pg_connection *connection = lanes->lane[i].connection;

        lanes->lane[i].connection = NULL;
        pg_connection_free(connection);
        lookup_index_free(&lanes->lane[i].index);
        buffer_free(&lanes->lane[i].keys);
    }
    while ((lookup = fair_queue_take(&lanes->waiting)))
        fail(lanes, lookup, "shutting down");
    event_del(&lanes->deadline);
    free(lanes->sql);
    free(lanes);
}
