/* SPDX-License-Identifier: MIT */
#include "pg_pool.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/timer.h>

#include "fair_queue.h"
#include "key_query.h"
#include "lookup_index.h"

/* The pool does not use the feed's session for so long after a lookup by it was late or refused. */
static const int64_t guest_bar_us = 10000000;

/* Without the feed's heartbeats the pool probes its connections so often. */
static const int64_t lone_heartbeat_us = 2000000;

/* A slot's last knowledge of its store. NOT_PROVEN: no lookup was answered there yet. USELESS: its
 * answers cannot be used, or are errors. */
enum slot_store { NOT_ASKED, NOT_PROVEN, AGREES, ELSEWHERE, USELESS };

/* A connection and the batch that it carries out. The guest has none: it uses the feed's. */
struct pool_slot {
    struct pg_pool *pool;
    struct pg_connection *connection;
    enum slot_store store;
    bool told; /* an answer since the last heartbeat told its store */
    struct lookup_list lookups;
    size_t len;
    int64_t sent_us;
    struct lookup_index by_key, by_fallback; /* the batch, by what each column may hold */
    struct buffer keys, fallback_keys;       /* the text[] parameters */
};

struct pg_pool {
    struct pg_pool_setup setup;
    struct back_env *env;
    struct fair_queue waiting;
    struct event deadline;
    bool deadline_armed;
    const char *logged; /* in the log: a fault of answers */
    bool refused_logged, time_logged, bytes_logged, broken_logged;
    bool misfit_logged[KEY_ROW_HASH_IN_FALLBACK + 1];
    struct attribute_log attribute_log;
    bool down; /* the state last reported */
    char *sql, *probe_sql;
    bool feed_usable;
    int64_t guest_barred_us; /* a lookup by the guest was late or refused: none before this time */
    struct pool_slot guest;
    struct event lone_heartbeat;
    size_t count;
    struct pool_slot slot[];
};

static void fail(struct pg_pool *pool, struct lookup *lookup, const char *why)
{
    pool->setup.failed(pool->setup.arg, lookup, why);
}

static enum id_type id_type(const struct pg_pool *pool)
{
    return (enum id_type)pool->env->config->postgres_id_type;
}

static bool own_down(const struct pg_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        const struct pg_connection *connection = pool->slot[i].connection;

        if (connection && !pg_connection_down(connection))
            return false;
    }
    return true;
}

/* Returns whether the feed's session may be used: the server refuses all of the pool's own. Not
 * behind a lock, where the feed's session would get stuck, and the feed with it. */
static bool guest_free(const struct pg_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        const struct pg_connection *connection = pool->slot[i].connection;

        if (connection && pg_connection_overdue(connection))
            return false;
    }
    return pool->feed_usable && own_down(pool) && clock_monotonic_us() >= pool->guest_barred_us;
}

/* Returns whether lookups go by the feed's session. After a refusal a query without keys is tried
 * first. */
static bool feed_stands_in(const struct pg_pool *pool)
{
    return guest_free(pool) && pool->guest.store != USELESS;
}

/* Returns the fault of all connections at once, or NULL while one of them may still answer. */
static const char *all_down(const struct pg_pool *pool)
{
    return own_down(pool) && !feed_stands_in(pool) ? "postgres is down" : NULL;
}

static void tell_whether_down(struct pg_pool *pool)
{
    bool down = all_down(pool) != NULL;

    if (down != pool->down)
        pool->setup.on_down(pool->setup.arg, down);
    pool->down = down;
}

/* Arm the timer for the lookup that has waited longest for a connection. */
static void arm_deadline(struct pg_pool *pool)
{
    const struct lookup *urgent =
        pool->deadline_armed ? NULL : fair_queue_most_urgent(&pool->waiting);

    if (!urgent)
        return;
    pool->deadline_armed = true;
    timer_start(&pool->deadline, urgent->deadline_us - clock_monotonic_us());
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct pg_pool *pool = arg;
    int64_t now_us = clock_monotonic_us();

    (void)fd;
    (void)what;
    pool->deadline_armed = false;
    for (struct lookup *lookup;
         (lookup = fair_queue_most_urgent(&pool->waiting)) && lookup->deadline_us <= now_us;) {
        fair_queue_remove(&pool->waiting, lookup);
        fail(pool, lookup, "postgres timeout");
    }
    arm_deadline(pool);
}

void pg_pool_add(struct pg_pool *pool, struct lookup *lookup)
{
    const char *down = all_down(pool);

    if (down) {
        fail(pool, lookup, down);
        return;
    }
    lookup->deadline_us = clock_monotonic_us() + pool->env->config->postgres_timeout;
    fair_queue_add(&pool->waiting, lookup);
}

/* The row is nobody's, and only its owner can say whose it should be. */
static void log_misfit(struct pg_pool *pool, const struct lookup *lookup,
                       enum key_row_standing standing)
{
    static const char *const fault[] = {
        [KEY_ROW_TORN] = "it holds the hash of another key than its key_column_fallback, or by a "
                         "secret that is not in key_transform_secret_file",
        [KEY_ROW_NO_HASH] = "it is no hash: 64 lower-case hexadecimal digits are expected",
        [KEY_ROW_HASH_IN_FALLBACK] = "it is NULL, and key_column_fallback holds 64 hexadecimal "
                                     "digits, which may be a stored "
                                     "hash; fill in key_column",
    };
    char fingerprint[FINGERPRINT_SIZE];

    if (!pool->misfit_logged[standing]) {
        digest_fingerprint(&lookup->names.digests.of[0], fingerprint);
        log_error(
            &pool->env->log,
            "postgres (lookups): key_column \"%s\" of the row of %s: %s; the row counts for no "
            "key (logged once)",
            pool->env->config->postgres_key_column, fingerprint, fault[standing]);
    }
    pool->misfit_logged[standing] = true;
}

static void judge_row(struct pg_pool *pool, struct lookup *lookup, const struct key_row *row)
{
    enum key_row_standing standing = key_row_judge(row, &lookup->names, lookup_key(lookup));

    if (standing != KEY_ROW_FITS) {
        log_misfit(pool, lookup, standing);
        return;
    }
    if (lookup->names.hashes > 0) {
        size_t which = key_row_hash(row, &lookup->names);

        pool->env->metrics.value[METRIC_FOUND_BY_FALLBACK] += which == lookup->names.hashes;
        pool->env->metrics.value[METRIC_FOUND_BY_OLDER_SECRET] +=
            which > 0 && which < lookup->names.hashes;
    }
    pool->env->metrics.value[METRIC_FOUND_WITHOUT_FORM] +=
        !key_form_fits(&pool->env->config->keys_prefix, lookup_key(lookup));
    key_query_combine(&lookup->finding, row);
}

/* A lookup may find a row by both columns, which must not count twice. */
static void take_row(struct pool_slot *slot, const struct key_row *row)
{
    struct lookup *lookup;
    size_t place = 0;

    while ((lookup = lookup_index_next(&slot->by_key, row->key, &place)))
        judge_row(slot->pool, lookup, row);
    for (place = 0; (lookup = lookup_index_next(&slot->by_fallback, row->fallback, &place));) {
        if (key_row_hash(row, &lookup->names) == lookup->names.hashes)
            judge_row(slot->pool, lookup, row);
    }
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

/* `misfit`: the column that is wrong, or zeros. */
static void log_wrong(struct pg_pool *pool, const char *wrong, const struct key_misfit *misfit)
{
    struct buffer found = {0};

    if (misfit->column)
        buffer_printf(&found, ": the type of %s is %s", misfit->column, misfit->found);
    else if (misfit->why)
        buffer_printf(&found, ": its type is %s", misfit->found);
    if (wrong && wrong != pool->logged)
        log_error(&pool->env->log,
                  "postgres (lookups): %s%.*s; its answers are not used (logged once)", wrong,
                  (int)found.len, buffer_held(&found).at);
    buffer_free(&found);
    pool->logged = wrong;
}

/* Fail the waiting lookups if no connection can answer any more. */
static void fail_waiting(struct pg_pool *pool)
{
    const char *down = all_down(pool);
    struct lookup *lookup;

    tell_whether_down(pool);
    while (down && (lookup = fair_queue_take(&pool->waiting)))
        fail(pool, lookup, down);
}

/* The feed's role may lack the right to read keys, and may be granted it later. */
static void bar_guest(struct pg_pool *pool)
{
    pool->guest.store = USELESS;
    pool->guest_barred_us = clock_monotonic_us() + guest_bar_us;
    fail_waiting(pool);
}

/* The answer cannot be used. If the server is at fault, another connection may lead elsewhere; a
 * fault of the table is the same on every connection. */
static void refuse_answer(struct pool_slot *slot, struct lookup_list *lookups,
                          enum store_standing standing, const char *wrong)
{
    struct pg_pool *pool = slot->pool;
    struct lookup *lookup;

    pool->env->metrics.value[METRIC_READS_UNUSED]++;
    slot->store = USELESS;
    while ((lookup = lookup_list_take(lookups))) {
        if (standing == STORE_OUTDATED && lookup->losses++ <= pool->count)
            pg_pool_add(pool, lookup);
        else
            fail(pool, lookup, wrong);
    }
    if (slot == &pool->guest)
        bar_guest(pool);
    else if (standing == STORE_OUTDATED)
        pg_connection_give_up(slot->connection, wrong);
}

/* The mark's store is not known yet: ask the session for it, then send the lookups again. */
static void ask_first(struct pool_slot *slot, struct lookup_list *lookups)
{
    struct pg_pool *pool = slot->pool;
    struct lookup *lookup;

    slot->store = NOT_ASKED;
    while ((lookup = lookup_list_take(lookups))) {
        if (lookup->losses++ > pool->count)
            fail(pool, lookup, "postgres sessions lead to ever other servers");
        else
            pg_pool_add(pool, lookup);
    }
}

/* Report the store of an answer before the answer. False when it cannot be used. */
static bool judge_store(struct pool_slot *slot, struct lookup_list *lookups, const PGresult *result,
                        const struct store_told *told)
{
    struct pg_pool *pool = slot->pool;
    struct store_id store;
    enum store_standing standing =
        stores_judge(&pool->env->stores, &told->mark, told->standby, &store);
    const char *wrong = wrong_with(standing, told->hidden);
    struct key_misfit misfit = {0};

    slot->told = true;
    if (standing == STORE_UNKNOWN) {
        ask_first(slot, lookups);
        return false;
    }
    if (!wrong) {
        misfit = key_query_misfit(result, pool->env->config);
        wrong = misfit.why;
    }
    log_wrong(pool, wrong, &misfit);
    if (wrong) {
        refuse_answer(slot, lookups, standing, wrong);
        return false;
    }
    slot->store = standing == STORE_ELSEWHERE ? ELSEWHERE : AGREES;
    pool->setup.on_store(pool->setup.arg, &store, standing == STORE_ELSEWHERE);
    return true;
}

/* Returns whether every text that is sent for the key is ASCII, as hashes are. */
static bool is_ascii(const struct lookup *lookup)
{
    if (lookup->names.digests.len == lookup->names.hashes || lookup->not_by_fallback)
        return true;
    for (size_t i = 0; i < lookup->request.key_len; i++) {
        if ((unsigned char)lookup->request.key[i] >= 0x80)
            return false;
    }
    return true;
}

/* The owner's table may allow rows without IDs, or with text that could not be told. */
static void fail_broken(struct pg_pool *pool, struct lookup *lookup)
{
    if (!pool->broken_logged)
        log_error(&pool->env->log,
                  "postgres (lookups): a row's ID or its user's is NULL%s: its key is UNAVAILABLE "
                  "(logged once)",
                  id_type(pool) == ID_TEXT
                      ? ", or not of 1 to 36 bytes of UTF-8 without blanks and "
                        "control characters"
                      : "");
    pool->broken_logged = true;
    fail(pool, lookup, "its row's ID or its user's is NULL, or no ID");
}

/* With the attributes of the row that gave the IDs, which live as long as this call. */
static void allow_lookup(struct pg_pool *pool, struct lookup *lookup, const PGresult *result,
                         int64_t server_read_us)
{
    const struct config *config = pool->env->config;
    struct verdict verdict = lookup->finding.verdict;
    struct attributes_draft draft;
    struct attribute_faults faults;

    if (config_has_attributes(config)) {
        key_query_attributes(result, lookup->finding.row, config, &draft, &faults);
        attribute_log_faults(&pool->attribute_log, pool->env, &lookup->request.digest, &faults);
        verdict.attributes = attributes_of(&draft);
    }
    pool->setup.answered(pool->setup.arg, lookup, &verdict, server_read_us);
}

/* Without an encoding, text that another client wrote may be the same key in other bytes. */
static void answer_lookup(struct pg_pool *pool, struct lookup *lookup, const PGresult *result,
                          const struct store *store, int64_t server_read_us)
{
    const struct verdict *verdict = &lookup->finding.verdict;

    if (lookup->finding.broken) {
        fail_broken(pool, lookup);
        return;
    }
    if (verdict->kind == VERDICT_ALLOW) {
        allow_lookup(pool, lookup, result, server_read_us);
        return;
    }
    if (verdict->kind != VERDICT_DENY_UNKNOWN || !store || !store->bytes || is_ascii(lookup)) {
        pool->setup.answered(pool->setup.arg, lookup, verdict, server_read_us);
        return;
    }
    if (!pool->bytes_logged)
        log_error(&pool->env->log,
                  "postgres (lookups): the database's encoding is SQL_ASCII: a key that is not of "
                  "ASCII characters, and is not found, is UNAVAILABLE (logged once)");
    pool->bytes_logged = true;
    fail(pool, lookup, "the database has no encoding (SQL_ASCII), and the key is not ASCII");
}

/* Collect all rows for their lookups before the first lookup is answered. */
static void take_rows(struct pool_slot *slot, struct lookup_list *lookups, const PGresult *result,
                      const struct store_told *told)
{
    struct pg_pool *pool = slot->pool;
    int64_t now_us = clock_monotonic_us();
    struct lookup *lookup;
    struct key_row row = {0};

    pool->refused_logged = false;
    if (!TAILQ_EMPTY(lookups))
        histogram_record(&pool->env->metrics.histogram[HISTOGRAM_POSTGRES_TIME],
                         now_us - slot->sent_us, 1);
    if (!judge_store(slot, lookups, result, told))
        return;
    for (int i = 0; i < PQntuples(result); i++) {
        if (key_query_row(result, i, id_type(pool), &row))
            take_row(slot, &row);
    }
    /* All rows have the same time, the store's row too. The clock of another store is not sampled:
     * mixed with the feed's it would seem to be set at each answer. */
    if (slot->store == AGREES)
        back_env_sample_clock(pool->env, slot->sent_us, now_us, row.server_read_us);
    while ((lookup = lookup_list_take(lookups)))
        answer_lookup(pool, lookup, result, stores_find(&pool->env->stores, &told->mark),
                      row.server_read_us);
}

#define UNKNOWN_ZONE "22023" /* invalid_parameter_value */

/* A window that cannot be read in postgres.timestamp_zone: datetime_field_overflow, or there is no
 * such zone. */
static bool is_bad_time(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && (strcmp(state, "22008") == 0 || strcmp(state, UNKNOWN_ZONE) == 0);
}

/* What to look at. Only columns with keys and with times can lack a function or an operator. */
static const char *hint(const PGresult *result)
{
    static const char undefined_column[] = "42703", undefined_function[] = "42883";
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (state && strcmp(state, undefined_column) == 0)
        return "; see the options postgres.*_column";
    if (state && strcmp(state, undefined_function) == 0)
        return "; the columns of keys have to be of type text, and postgres.not_before_column and "
               "expires_column of type timestamp, with or without time zone";
    if (is_bad_time(result))
        return "; see postgres.timestamp_zone (logged once)";
    return "";
}

static void log_refusal(struct pg_pool *pool, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);
    bool bad_time = is_bad_time(result);

    if (message[0] == '\0')
        message = "rows of an unexpected form";
    /* A bad time comes with each check of its key, and other keys are answered in between. */
    if (!pool->refused_logged && !(bad_time && pool->time_logged)) {
        log_error(&pool->env->log, "postgres (lookups): %.*s%s", (int)strcspn(message, "\n"),
                  message, hint(result));
        pool->time_logged = pool->time_logged || bad_time;
    }
    pool->refused_logged = true;
}

/* Text that the server's encoding does not have: character_not_in_repertoire and
 * untranslatable_character. */
static bool is_bad_text(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && (strcmp(state, "22021") == 0 || strcmp(state, "22P05") == 0);
}

/* PostgreSQL names the parameter that an error is about. An error without one is about a row. */
static bool is_about_parameter(const PGresult *result)
{
    return PQresultErrorField(result, PG_DIAG_CONTEXT) != NULL;
}

/* The server refused the statement. Bad text, or a bad time, is the fault of one key, or of its
 * row, which must not fail the others: each half is asked again, down to that key. It cannot be in
 * the table if its own text is bad. */
static void take_refusal(struct pool_slot *slot, struct lookup_list *lookups, size_t len,
                         const PGresult *result)
{
    const struct verdict unknown = {.kind = VERDICT_DENY_UNKNOWN, .read_at_us = slot->sent_us};
    struct pg_pool *pool = slot->pool;
    const struct lookup *only = len == 1 ? TAILQ_FIRST(lookups) : NULL;
    bool bad_text =
        is_bad_text(result) && !(only && (is_ascii(only) || !is_about_parameter(result)));
    bool asks_again = bad_text || (len > 1 && is_bad_time(result));
    struct lookup *lookup;

    if (!asks_again) {
        log_refusal(pool, result);
        slot->store = USELESS;
    }
    if (!asks_again && slot == &pool->guest)
        bar_guest(pool);
    while ((lookup = lookup_list_take(lookups))) {
        if (!asks_again) {
            fail(pool, lookup, "postgres error");
        } else if (len == 1 && lookup->names.hashes > 0) {
            lookup->not_by_fallback = true;
            pg_pool_add(pool, lookup);
        } else if (len == 1) {
            pool->setup.answered(pool->setup.arg, lookup, &unknown, 0);
        } else {
            lookup->batch_max = len / 2;
            pg_pool_add(pool, lookup);
        }
    }
}

/* A session that the server ended gives no answer, but the next session may. If the server ended
 * all of them, each can break once before a new one connects. */
static void take_loss(struct pool_slot *slot, struct lookup_list *lookups, enum pg_outcome outcome)
{
    struct pg_pool *pool = slot->pool;
    struct lookup *lookup;

    if (slot == &pool->guest && outcome == PG_LATE)
        bar_guest(pool);
    while ((lookup = lookup_list_take(lookups))) {
        if (outcome == PG_LATE || lookup->losses++ > pool->count) {
            fail(pool, lookup,
                 outcome == PG_LATE ? "postgres timeout" : "postgres connection lost");
        } else {
            pg_pool_add(pool, lookup);
        }
    }
}

static void on_result(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct pool_slot *slot = arg;
    struct lookup_list lookups;
    struct store_told told;
    size_t len = slot->len;

    /* Free the slot first: answers may add lookups. */
    TAILQ_INIT(&lookups);
    TAILQ_CONCAT(&lookups, &slot->lookups, in_list);
    slot->len = 0;
    explicit_bzero(slot->keys.data, slot->keys.cap);
    explicit_bzero(slot->fallback_keys.data, slot->fallback_keys.cap);
    if (!result)
        take_loss(slot, &lookups, outcome);
    else if (outcome == PG_DONE && key_query_valid(result, slot->pool->env->config, &told))
        take_rows(slot, &lookups, result, &told);
    else
        take_refusal(slot, &lookups, len, result);
    if (slot == &slot->pool->guest)
        tell_whether_down(slot->pool);
    arm_deadline(slot->pool);
}

/* Take the lookups that are next, as many as may go into one batch. */
static void gather(struct pool_slot *slot)
{
    struct fair_queue *waiting = &slot->pool->waiting;
    size_t max = slot->pool->env->config->postgres_batch;

    for (struct lookup *next; (next = fair_queue_first(waiting)); slot->len++) {
        if (next->batch_max > 0 && next->batch_max < max)
            max = next->batch_max;
        if (slot->len >= max)
            return;
        (void)fair_queue_take(waiting);
        TAILQ_INSERT_TAIL(&slot->lookups, next, in_list);
    }
}

/* Begin a text[] of so many elements in an emptied buffer. The room is reserved at once: growing
 * would leave a copy of the keys behind. */
static void begin_keys(struct buffer *keys, size_t len)
{
    buffer_consume(keys, keys->len);
    buffer_reserve(keys, 20 + len * (4 + KEY_LEN_MAX));
    pg_array_begin(keys, PG_TEXT, len);
}

static void add_key(struct buffer *keys, struct lookup_index *index, struct lookup *lookup,
                    struct slice text)
{
    lookup_index_add(index, lookup, text);
    pg_array_element(keys, text.at, text.len);
}

static void add_key_column(struct pool_slot *slot, struct lookup *lookup)
{
    struct key_names *names = &lookup->names;

    for (size_t i = 0; i < names->hashes; i++)
        add_key(&slot->keys, &slot->by_key, lookup, (struct slice){names->hash[i], KEY_HASH_LEN});
    if (names->hashes == 0)
        add_key(&slot->keys, &slot->by_key, lookup, lookup_key(lookup));
}

/* The batch's keys as they are in the columns now: secrets and columns may have changed while the
 * lookups waited. */
static void make_params(struct pool_slot *slot, struct pg_query *query)
{
    const struct back_env *env = slot->pool->env;
    bool fallback = env->config->postgres_key_column_fallback[0];
    size_t len = 0, fallback_len = 0;
    struct lookup *lookup;

    TAILQ_FOREACH(lookup, &slot->lookups, in_list)
    {
        key_hasher_names(env->hasher, lookup_key(lookup), &lookup->names);
        len += lookup->names.hashes > 0 ? lookup->names.hashes : 1;
        fallback_len += fallback && !lookup->not_by_fallback;
    }
    lookup_index_reset(&slot->by_key, len);
    lookup_index_reset(&slot->by_fallback, fallback_len);
    begin_keys(&slot->keys, len);
    begin_keys(&slot->fallback_keys, fallback_len);
    TAILQ_FOREACH(lookup, &slot->lookups, in_list)
    {
        add_key_column(slot, lookup);
        if (fallback && !lookup->not_by_fallback)
            add_key(&slot->fallback_keys, &slot->by_fallback, lookup, lookup_key(lookup));
    }
    query->params = fallback ? 2 : 1;
    query->param[0] = (struct pg_param){PG_TEXT_ARRAY, buffer_held(&slot->keys)};
    query->param[1] = (struct pg_param){PG_TEXT_ARRAY, buffer_held(&slot->fallback_keys)};
}

/* Send the waiting lookups, even if there are none: the answer shows that lookups are answered, and
 * by which store. */
static void send_batch(struct pool_slot *slot)
{
    struct pg_pool *pool = slot->pool;
    struct pg_query query = {
        .sql = pool->sql,
        .timeout_us = pool->env->config->postgres_timeout,
        .done = on_result,
        .arg = slot,
    };
    struct key_finding unknown = {.verdict.kind = VERDICT_DENY_UNKNOWN};
    struct lookup *lookup;

    /* Taken before the send, so the verdicts are not older than this time says. */
    slot->sent_us = unknown.verdict.read_at_us = clock_monotonic_us();
    gather(slot);
    TAILQ_FOREACH(lookup, &slot->lookups, in_list)
    lookup->finding = unknown;
    make_params(slot, &query);
    size_t len = slot->len;
    if (len == 0) {
        query.sql = pool->probe_sql;
        query.params = 0;
    } else {
        pool->env->metrics.value[METRIC_POSTGRES_SELECTS]++;
        pool->env->metrics.value[METRIC_POSTGRES_KEYS] += len;
        histogram_record(&pool->env->metrics.histogram[HISTOGRAM_POSTGRES_BATCH], (int64_t)len, 1);
    }
    if (slot->connection)
        pg_connection_send(slot->connection, &query);
    else
        (void)pool->setup.lend(pool->setup.arg, &query);
}

static void on_asked(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct pool_slot *slot = arg;
    struct pg_pool *pool = slot->pool;
    struct store store;
    int64_t server_us;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED || !store_query_read(result, 0, &store, &server_us)) {
        log_refusal(pool, result);
        pg_connection_give_up(slot->connection, "it does not tell which store it leads to");
        return;
    }
    stores_learn(&pool->env->stores, &store);
    slot->told = true;
    if (stores_outdated(&pool->env->stores, &store)) {
        const char *wrong = wrong_with(STORE_OUTDATED, false);

        slot->store = USELESS;
        log_wrong(pool, wrong, &(struct key_misfit){0});
        pg_connection_give_up(slot->connection, wrong);
        return;
    }
    slot->store = NOT_PROVEN;
}

/* Which store does it lead to? */
static void ask_store(struct pool_slot *slot)
{
    struct pg_query query = {
        .timeout_us = slot->pool->env->config->postgres_timeout,
        .done = on_asked,
        .arg = slot,
    };

    store_query_bind(&query, slot->pool->env->config);
    slot->sent_us = clock_monotonic_us();
    pg_connection_send(slot->connection, &query);
}

void pg_pool_go(struct pg_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        struct pool_slot *slot = &pool->slot[i];

        if (!slot->connection || !pg_connection_ready(slot->connection))
            continue;
        if (slot->store == NOT_ASKED)
            ask_store(slot);
        else if (pool->waiting.len > 0 || slot->store == NOT_PROVEN)
            send_batch(slot);
    }
    bool asks =
        pool->waiting.len > 0 || pool->guest.store == NOT_ASKED || pool->guest.store == USELESS;
    if (asks && guest_free(pool) && pool->setup.lend(pool->setup.arg, NULL))
        send_batch(&pool->guest);
    arm_deadline(pool);
}

static void on_ready(void *arg)
{
    struct pool_slot *slot = arg;

    tell_whether_down(slot->pool);
    pg_pool_go(slot->pool);
}

static void on_down(void *arg)
{
    struct pool_slot *slot = arg;

    slot->store = NOT_ASKED;
    fail_waiting(slot->pool);
    /* Another slot may take the lookups that this slot gave back. */
    pg_pool_go(slot->pool);
}

void pg_pool_feed_is(struct pg_pool *pool, bool usable)
{
    pool->feed_usable = usable;
    pool->guest.store = NOT_ASKED;
    fail_waiting(pool);
}

void pg_pool_probe(struct pg_pool *pool, bool hurry)
{
    for (size_t i = 0; i < pool->count; i++) {
        if (pg_connection_ready(pool->slot[i].connection))
            send_batch(&pool->slot[i]);
        else if (hurry)
            pg_connection_hurry(pool->slot[i].connection);
        else
            pg_connection_retry(pool->slot[i].connection);
    }
}

void pg_pool_heartbeat(struct pg_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        struct pool_slot *slot = &pool->slot[i];

        if (!slot->told && pg_connection_ready(slot->connection))
            send_batch(slot);
        slot->told = false;
    }
    timer_start(&pool->lone_heartbeat, lone_heartbeat_us);
}

/* While the feed is down, probe all connections. A session that was refused, for lost rights for
 * example, is tried too: a daemon that is not ready gets no requests. */
static void on_lone_heartbeat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pg_pool_heartbeat(arg);
}

bool pg_pool_agree(const struct pg_pool *pool)
{
    if (!pg_pool_answer(pool))
        return false;
    for (size_t i = 0; i < pool->count; i++) {
        const struct pool_slot *slot = &pool->slot[i];

        if (pg_connection_up(slot->connection) && slot->store == ELSEWHERE)
            return false;
    }
    return true;
}

bool pg_pool_answer(const struct pg_pool *pool)
{
    return pg_pool_up(pool) > 0 || (feed_stands_in(pool) && pool->guest.store == AGREES);
}

size_t pg_pool_up(const struct pg_pool *pool)
{
    size_t up = 0;

    for (size_t i = 0; i < pool->count; i++) {
        const struct pool_slot *slot = &pool->slot[i];

        up += pg_connection_up(slot->connection) &&
              (slot->store == AGREES || slot->store == ELSEWHERE);
    }
    return up;
}

const char *pg_pool_fault(const struct pg_pool *pool)
{
    if (pool->refused_logged)
        return "PostgreSQL refuses the statement; the log says why";
    return pool->logged;
}

static bool open_slot(struct pool_slot *slot, struct pg_pool *pool)
{
    slot->pool = pool;
    TAILQ_INIT(&slot->lookups);
    slot->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = pool->env,
        .purpose = "lookups",
        .rank = slot == pool->slot ? PG_RANK_LOOKUP : PG_RANK_SPARE,
        .dsn = pool->env->config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .arg = slot,
        .waits_when_late = true,
        .renews_when_denied = true,
    });
    return slot->connection != NULL;
}

static void slot_done(struct pool_slot *slot)
{
    lookup_index_free(&slot->by_key);
    lookup_index_free(&slot->by_fallback);
    buffer_free(&slot->keys);
    buffer_free(&slot->fallback_keys);
}

void pg_pool_configure(struct pg_pool *pool)
{
    free(pool->sql);
    free(pool->probe_sql);
    pool->sql = key_query_sql(pool->env->config);
    pool->probe_sql = key_query_probe_sql(pool->env->config);
    memset(pool->misfit_logged, 0, sizeof pool->misfit_logged);
}

struct pg_pool *pg_pool_new(const struct pg_pool_setup *setup)
{
    size_t count = setup->env->config->postgres_connections;
    struct pg_pool *pool = calloc(1, sizeof *pool + count * sizeof pool->slot[0]);

    if (!pool)
        return NULL;
    pool->setup = *setup;
    pool->env = setup->env;
    fair_queue_init(&pool->waiting);
    event_assign(&pool->deadline, pool->env->base, -1, 0, on_deadline, pool);
    event_assign(&pool->lone_heartbeat, pool->env->base, -1, 0, on_lone_heartbeat, pool);
    pg_pool_configure(pool);
    pool->guest.pool = pool;
    TAILQ_INIT(&pool->guest.lookups);
    while (pool->count < count && open_slot(&pool->slot[pool->count], pool))
        pool->count++;
    if (pool->count < count) {
        pg_pool_free(pool);
        return NULL;
    }
    pg_pool_heartbeat(pool);
    return pool;
}

void pg_pool_free(struct pg_pool *pool)
{
    struct lookup *lookup;

    if (!pool)
        return;
    for (size_t i = 0; i < pool->count; i++) {
        struct pg_connection *connection = pool->slot[i].connection;

        pool->slot[i].connection = NULL;
        pg_connection_free(connection);
        slot_done(&pool->slot[i]);
    }
    slot_done(&pool->guest);
    while ((lookup = fair_queue_take(&pool->waiting)))
        fail(pool, lookup, "shutting down");
    event_del(&pool->deadline);
    event_del(&pool->lone_heartbeat);
    free(pool->sql);
    free(pool->probe_sql);
    free(pool);
}
