/* SPDX-License-Identifier: MIT */
#include "pg_lanes.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/key_query.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/pg_connection.h"
#include "apikeyd/timer.h"
#include "fair_queue.h"
#include "lookup_index.h"

/* After a lookup by the feed's session that was late or refused. */
static const int64_t guest_bar_us = 10000000;

/* Without the feed's heartbeats connections are asked after so long. */
static const int64_t lone_beat_us = 2000000;

/* What a lane last knew of where it leads. NOT_PROVEN: nothing was looked up there yet. USELESS:
 * what it answers cannot be used, or is an error. */
enum lane_store { NOT_ASKED, NOT_PROVEN, AGREES, ELSEWHERE, USELESS };

/* A connection and the batch that it carries out. The guest has none: it uses the feed's. */
struct lane {
    struct pg_lanes *lanes;
    struct pg_connection *connection;
    enum lane_store store;
    bool told; /* since the last heartbeat */
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
    const char *said; /* in the log: what is wrong with answers */
    bool refused_said, bytes_said;
    bool down; /* as was told */
    char *sql, *probe_sql;
    bool feed_usable;
    int64_t guest_barred_us; /* a lookup by it was late or refused: none until then */
    struct lane guest;
    struct event lone_beat;
    size_t count;
    struct lane lane[];
};

static void fail(struct pg_lanes *lanes, struct lookup *lookup, const char *why)
{
    lanes->setup.failed(lanes->setup.arg, lookup, why);
}

static bool own_down(const struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        const struct pg_connection *connection = lanes->lane[i].connection;

        if (connection && !pg_connection_down(connection))
            return false;
    }
    return true;
}

/* Whether the feed's session may be asked: all own ones are refused. Behind a lock it would only
 * get stuck too, and the feed with it. */
static bool guest_free(const struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        const struct pg_connection *connection = lanes->lane[i].connection;

        if (connection && pg_connection_overdue(connection))
            return false;
    }
    return lanes->feed_usable && own_down(lanes) && clock_monotonic_us() >= lanes->guest_barred_us;
}

/* Whether it stands in for them. One that was refused is asked without keys first. */
static bool feed_stands_in(const struct pg_lanes *lanes)
{
    return guest_free(lanes) && lanes->guest.store != USELESS;
}

/* What is wrong with all connections at once, or NULL while one of them may still answer. */
static const char *all_down(const struct pg_lanes *lanes)
{
    return own_down(lanes) && !feed_stands_in(lanes) ? "postgres is down" : NULL;
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
    lanes->deadline_armed = true;
    timer_start(&lanes->deadline, urgent->deadline_us - clock_monotonic_us());
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

/* Why an answer of this standing proves nothing, or NULL. */
static const char *wrong_with(enum store_standing standing, bool hidden)
{
    if (standing == STORE_OUTDATED)
        return "postgres answers as a standby, or on an old timeline";
    if (standing == STORE_NO_TABLE)
        return "postgres.table is not a table";
    return hidden ? "row security hides rows of postgres.table from the daemon's role" : NULL;
}

static void say_wrong(struct pg_lanes *lanes, const char *wrong)
{
    if (wrong && wrong != lanes->said)
        log_error(&lanes->env->log,
                  "postgres (lookups): %s; its answers are not used (logged once)", wrong);
    lanes->said = wrong;
}

/* What waited for answers and gets none any more. */
static void fail_waiting(struct pg_lanes *lanes)
{
    const char *down = all_down(lanes);
    struct lookup *lookup;

    tell_whether_down(lanes);
    while (down && (lookup = fair_queue_take(&lanes->waiting)))
        fail(lanes, lookup, down);
}

/* The feed's role need not be allowed to read keys; but it may be, later. */
static void bar_guest(struct pg_lanes *lanes)
{
    lanes->guest.store = USELESS;
    lanes->guest_barred_us = clock_monotonic_us() + guest_bar_us;
    fail_waiting(lanes);
}

/* The answer is of no use. From a server that will not do another connection may lead elsewhere;
 * what is wrong with the table is so wherever it is asked. */
static void refuse_answer(struct lane *lane, struct lookup_list *lookups,
                          enum store_standing standing, const char *wrong)
{
    struct pg_lanes *lanes = lane->lanes;
    struct lookup *lookup;

    lanes->env->metrics.value[METRIC_READS_UNUSED]++;
    lane->store = USELESS;
    while ((lookup = lookup_list_take(lookups))) {
        if (standing == STORE_OUTDATED && lookup->losses++ <= lanes->count)
            pg_lanes_add(lanes, lookup);
        else
            fail(lanes, lookup, wrong);
    }
    if (lane == &lanes->guest)
        bar_guest(lanes);
    else if (standing == STORE_OUTDATED)
        pg_connection_give_up(lane->connection, wrong);
}

/* Nobody has told yet what the mark stands for: the session is asked, then the lookups are sent
 * again. */
static void ask_first(struct lane *lane, struct lookup_list *lookups)
{
    struct pg_lanes *lanes = lane->lanes;
    struct lookup *lookup;

    lane->store = NOT_ASKED;
    while ((lookup = lookup_list_take(lookups))) {
        if (lookup->losses++ > lanes->count)
            fail(lanes, lookup, "postgres sessions lead to ever other servers");
        else
            pg_lanes_add(lanes, lookup);
    }
}

/* Where an answer came from is told before it is. False when it cannot be used. */
static bool judge_store(struct lane *lane, struct lookup_list *lookups,
                        const struct store_told *told)
{
    struct pg_lanes *lanes = lane->lanes;
    struct store_id store;
    enum store_standing standing =
        stores_judge(&lanes->env->stores, &told->mark, told->standby, &store);
    const char *wrong = wrong_with(standing, told->hidden);

    lane->told = true;
    if (standing == STORE_UNKNOWN) {
        ask_first(lane, lookups);
        return false;
    }
    say_wrong(lanes, wrong);
    if (wrong) {
        refuse_answer(lane, lookups, standing, wrong);
        return false;
    }
    lane->store = standing == STORE_ELSEWHERE ? ELSEWHERE : AGREES;
    lanes->setup.on_store(lanes->setup.arg, &store, standing == STORE_ELSEWHERE);
    return true;
}

static bool is_ascii(const struct lookup *lookup)
{
    for (size_t i = 0; i < lookup->request.key_len; i++) {
        if ((unsigned char)lookup->request.key[i] >= 0x80)
            return false;
    }
    return true;
}

/* Without an encoding, text that another client wrote may be the same key in other bytes. */
static void answer_lookup(struct pg_lanes *lanes, struct lookup *lookup, const struct store *store,
                          int64_t server_read_us)
{
    const struct verdict *verdict = &lookup->finding.verdict;

    if (verdict->kind != VERDICT_DENY_UNKNOWN || !store || !store->bytes || is_ascii(lookup)) {
        lanes->setup.answered(lanes->setup.arg, lookup, verdict, server_read_us);
        return;
    }
    if (!lanes->bytes_said)
        log_error(&lanes->env->log,
                  "postgres (lookups): the database's encoding is SQL_ASCII: a key that is not of "
                  "ASCII characters, and is not found, is UNAVAILABLE (logged once)");
    lanes->bytes_said = true;
    fail(lanes, lookup, "the database has no encoding (SQL_ASCII), and the key is not ASCII");
}

/* Put the rows together, each with its lookups, before the first of these is answered. */
static void take_rows(struct lane *lane, struct lookup_list *lookups, const PGresult *result,
                      const struct store_told *told)
{
    struct pg_lanes *lanes = lane->lanes;
    int64_t now_us = clock_monotonic_us();
    struct lookup *lookup;
    struct key_row row = {0};

    lanes->refused_said = false;
    if (!TAILQ_EMPTY(lookups))
        histogram_record(&lanes->env->metrics.histogram[HISTOGRAM_POSTGRES_TIME],
                         now_us - lane->sent_us, 1);
    if (!judge_store(lane, lookups, told))
        return;
    for (int i = 0; i < PQntuples(result); i++) {
        if (key_query_row(result, i, &row))
            take_row(lane, &row);
    }
    /* All rows tell the same time, that of the store too. Another store's clock is not the feed's:
     * taken for one, they would seem to be set at each answer. */
    if (lane->store == AGREES)
        back_env_sample_clock(lanes->env, lane->sent_us, now_us, row.server_read_us);
    while ((lookup = lookup_list_take(lookups)))
        answer_lookup(lanes, lookup, stores_find(&lanes->env->stores, &told->mark),
                      row.server_read_us);
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
    const struct lookup *only = len == 1 ? TAILQ_FIRST(lookups) : NULL;
    bool bad_text = is_bad_text(result) && !(only && is_ascii(only));
    struct lookup *lookup;

    if (!bad_text) {
        log_refusal(lanes, result);
        lane->store = USELESS;
    }
    if (!bad_text && lane == &lanes->guest)
        bar_guest(lanes);
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
static void take_loss(struct lane *lane, struct lookup_list *lookups, enum pg_outcome outcome)
{
    struct pg_lanes *lanes = lane->lanes;
    struct lookup *lookup;

    if (lane == &lanes->guest && outcome == PG_LATE)
        bar_guest(lanes);
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
    struct store_told told;
    size_t len = lane->len;

    /* The lane is free again: answers may hand lookups in anew. */
    TAILQ_INIT(&lookups);
    TAILQ_CONCAT(&lookups, &lane->lookups, in_list);
    lane->len = 0;
    explicit_bzero(lane->keys.data, lane->keys.cap);
    if (!result)
        take_loss(lane, &lookups, outcome);
    else if (outcome == PG_DONE && key_query_valid(result, &told))
        take_rows(lane, &lookups, result, &told);
    else
        take_refusal(lane, &lookups, len, result);
    if (lane == &lane->lanes->guest)
        tell_whether_down(lane->lanes);
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

/* Send what waits. Even if that is nothing: the answer shows that lookups are answered, and from
 * where. */
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
    size_t len = lane->len;
    if (len == 0) {
        query.sql = lanes->probe_sql;
        query.params = 0;
    } else {
        lanes->env->metrics.value[METRIC_POSTGRES_SELECTS]++;
        lanes->env->metrics.value[METRIC_POSTGRES_KEYS] += len;
        histogram_record(&lanes->env->metrics.histogram[HISTOGRAM_POSTGRES_BATCH], (int64_t)len, 1);
    }
    if (lane->connection)
        pg_connection_send(lane->connection, &query);
    else
        (void)lanes->setup.lend(lanes->setup.arg, &query);
}

static void on_asked(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct lane *lane = arg;
    struct pg_lanes *lanes = lane->lanes;
    struct store store;
    int64_t server_us;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED || !store_query_read(result, 0, &store, &server_us)) {
        log_refusal(lanes, result);
        pg_connection_give_up(lane->connection, "it does not tell which store it leads to");
        return;
    }
    stores_learn(&lanes->env->stores, &store);
    lane->told = true;
    if (stores_outdated(&lanes->env->stores, &store)) {
        const char *wrong = wrong_with(STORE_OUTDATED, false);

        lane->store = USELESS;
        say_wrong(lanes, wrong);
        pg_connection_give_up(lane->connection, wrong);
        return;
    }
    back_env_sample_clock(lanes->env, lane->sent_us, clock_monotonic_us(), server_us);
    lane->store = NOT_PROVEN;
}

/* Which store does it lead to? */
static void ask_store(struct lane *lane)
{
    struct pg_query query = {
        .timeout_us = lane->lanes->env->config->postgres_timeout,
        .done = on_asked,
        .arg = lane,
    };

    store_query_bind(&query, lane->lanes->env->config);
    lane->sent_us = clock_monotonic_us();
    pg_connection_send(lane->connection, &query);
}

void pg_lanes_go(struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];

        if (!lane->connection || !pg_connection_ready(lane->connection))
            continue;
        if (lane->store == NOT_ASKED)
            ask_store(lane);
        else if (lanes->waiting.len > 0 || lane->store == NOT_PROVEN)
            send_batch(lane);
    }
    bool asks =
        lanes->waiting.len > 0 || lanes->guest.store == NOT_ASKED || lanes->guest.store == USELESS;
    if (asks && guest_free(lanes) && lanes->setup.lend(lanes->setup.arg, NULL))
        send_batch(&lanes->guest);
    arm_deadline(lanes);
}

static void on_ready(void *arg)
{
    struct lane *lane = arg;

    tell_whether_down(lane->lanes);
    pg_lanes_go(lane->lanes);
}

static void on_down(void *arg)
{
    struct lane *lane = arg;

    lane->store = NOT_ASKED;
    fail_waiting(lane->lanes);
    /* What this lane gave back another one may take. */
    pg_lanes_go(lane->lanes);
}

void pg_lanes_feed_is(struct pg_lanes *lanes, bool usable)
{
    lanes->feed_usable = usable;
    lanes->guest.store = NOT_ASKED;
    fail_waiting(lanes);
}

void pg_lanes_probe(struct pg_lanes *lanes, bool hurry)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (pg_connection_ready(lanes->lane[i].connection))
            send_batch(&lanes->lane[i]);
        else if (hurry)
            pg_connection_hurry(lanes->lane[i].connection);
        else
            pg_connection_retry(lanes->lane[i].connection);
    }
}

void pg_lanes_beat(struct pg_lanes *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->lane[i];

        if (!lane->told && pg_connection_ready(lane->connection))
            send_batch(lane);
        lane->told = false;
    }
    timer_start(&lanes->lone_beat, lone_beat_us);
}

/* The link is away. What was refused for a while, for lost rights, say, is tried again all the
 * same: nobody asks a daemon that is not ready. */
static void on_lone_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pg_lanes_beat(arg);
}

bool pg_lanes_agree(const struct pg_lanes *lanes)
{
    if (!pg_lanes_answer(lanes))
        return false;
    for (size_t i = 0; i < lanes->count; i++) {
        const struct lane *lane = &lanes->lane[i];

        if (pg_connection_up(lane->connection) && lane->store == ELSEWHERE)
            return false;
    }
    return true;
}

bool pg_lanes_answer(const struct pg_lanes *lanes)
{
    return pg_lanes_up(lanes) > 0 || (feed_stands_in(lanes) && lanes->guest.store == AGREES);
}

size_t pg_lanes_up(const struct pg_lanes *lanes)
{
    size_t up = 0;

    for (size_t i = 0; i < lanes->count; i++) {
        const struct lane *lane = &lanes->lane[i];

        up += pg_connection_up(lane->connection) &&
              (lane->store == AGREES || lane->store == ELSEWHERE);
    }
    return up;
}

static bool open_lane(struct lane *lane, struct pg_lanes *lanes)
{
    lane->lanes = lanes;
    TAILQ_INIT(&lane->lookups);
    lane->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = lanes->env,
        .purpose = "lookups",
        .rank = lane == lanes->lane ? PG_RANK_LOOKUP : PG_RANK_SPARE,
        .dsn = lanes->env->config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .arg = lane,
        .waits_when_late = true,
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
    event_assign(&lanes->lone_beat, lanes->env->base, -1, 0, on_lone_beat, lanes);
    lanes->sql = key_query_sql(lanes->env->config);
    lanes->probe_sql = key_query_probe_sql(lanes->env->config);
    lanes->guest.lanes = lanes;
    TAILQ_INIT(&lanes->guest.lookups);
    while (lanes->count < count && open_lane(&lanes->lane[lanes->count], lanes))
        lanes->count++;
    if (!lanes->sql || !lanes->probe_sql || lanes->count < count) {
        pg_lanes_free(lanes);
        return NULL;
    }
    pg_lanes_beat(lanes);
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
    lookup_index_free(&lanes->guest.index);
    buffer_free(&lanes->guest.keys);
    while ((lookup = fair_queue_take(&lanes->waiting)))
        fail(lanes, lookup, "shutting down");
    event_del(&lanes->deadline);
    event_del(&lanes->lone_beat);
    free(lanes->sql);
    free(lanes->probe_sql);
    free(lanes);
}
