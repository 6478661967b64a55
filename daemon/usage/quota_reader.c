/* SPDX-License-Identifier: MIT */
#include "quota_reader.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/base/backoff.h>
#include <apikeyd/thread/timer.h>

#include "quota_query.h"

/* Keys that wait, at most, and those of a statement. */
enum { QUEUE = 1 << 14, KEYS_MAX = 100 };

/* Between two statements: at most 500 keys a second are read. */
static const int64_t pause_us = 200000;

struct quota_reader {
    struct back_env *env;
    void (*on_due)(void *arg);
    void *arg;
    struct event timer;
    struct backoff backoff;
    struct row_id queue[QUEUE];
    size_t first, len; /* of the queue, which goes round */
    size_t asked;      /* keys of the statement under way, from the first */
    bool resting;
    bool failure_logged;
    char *sql;
    struct quota_params params;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct quota_reader *reader = arg;

    (void)fd;
    (void)what;
    reader->resting = false;
    reader->on_due(reader->arg);
}

struct quota_reader *quota_reader_new(struct back_env *env, void (*on_due)(void *arg), void *arg)
{
    struct quota_reader *reader = calloc(1, sizeof *reader);

    if (!reader)
        return NULL;
    reader->env = env;
    reader->on_due = on_due;
    reader->arg = arg;
    reader->backoff = (struct backoff){.first_us = 200000, .max_us = 10000000};
    reader->sql = quota_query_sql(env->config);
    event_assign(&reader->timer, env->base, -1, 0, on_timer, reader);
    return reader;
}

void quota_reader_free(struct quota_reader *reader)
{
    if (!reader)
        return;
    event_del(&reader->timer);
    quota_params_free(&reader->params);
    free(reader->sql);
    free(reader);
}

void quota_reader_add(struct quota_reader *reader, const struct row_id *id)
{
    if (reader->len == QUEUE)
        return;
    reader->queue[(reader->first + reader->len) % QUEUE] = *id;
    reader->len++;
    if (!reader->resting)
        reader->on_due(reader->arg);
}

bool quota_reader_due(const struct quota_reader *reader)
{
    return reader->len > 0 && !reader->resting;
}

void quota_reader_bind(struct quota_reader *reader, struct pg_query *query,
                       const struct store_mark *mark)
{
    const struct row_id *ids[KEYS_MAX];

    reader->asked = reader->len < KEYS_MAX ? reader->len : KEYS_MAX;
    for (size_t i = 0; i < reader->asked; i++)
        ids[i] = &reader->queue[(reader->first + i) % QUEUE];
    query->sql = reader->sql;
    quota_query_bind(query, &reader->params, ids, reader->asked,
                     (enum id_type)reader->env->config->postgres_id_type, mark);
}

bool quota_reader_take(struct quota_reader *reader, const PGresult *result, uint32_t rounds)
{
    enum id_type type = (enum id_type)reader->env->config->postgres_id_type;
    struct to_front message = {.type = TO_FRONT_QUOTA};

    if (!quota_query_valid(result, type)) {
        quota_reader_fail(reader, "the answer has another form than expected");
        return true;
    }
    if (PQntuples(result) == 0)
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        quota_query_row(result, i, type, &message.quota_sum);
        message.quota_sum.rounds = rounds;
        (void)back_env_post(reader->env, &message);
    }
    reader->env->metrics.value[METRIC_QUOTA_SUMS] += (uint64_t)PQntuples(result);
    reader->first = (reader->first + reader->asked) % QUEUE;
    reader->len -= reader->asked;
    reader->resting = true;
    reader->failure_logged = false;
    backoff_reset(&reader->backoff);
    timer_start(&reader->timer, pause_us);
    return true;
}

void quota_reader_fail(struct quota_reader *reader, const char *why)
{
    reader->env->metrics.value[METRIC_QUOTA_SUMS_FAILED]++;
    reader->resting = true;
    timer_retry(&reader->timer, &reader->backoff);
    if (!reader->failure_logged)
        log_error(&reader->env->log,
                  "postgres (quotas): %.*s; quotas are judged by the last sums (logged once)",
                  (int)strcspn(why, "\n"), why);
    reader->failure_logged = true;
}

size_t quota_reader_waiting(const struct quota_reader *reader)
{
    return reader->len;
}
