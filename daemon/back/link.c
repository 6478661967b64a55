/* SPDX-License-Identifier: MIT */
#include "apikeyd/link.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/heartbeat_query.h"
#include "apikeyd/notification.h"
#include "apikeyd/pg_connection.h"

static const int64_t heartbeat_most_us = 1000000; /* from one heartbeat to the next */
static const int64_t heartbeat_late_us = 3000000;
static const int64_t doubt_us = 100000; /* a heartbeat that takes longer is told of */

struct link {
    struct link_setup setup;
    struct back_env *env;
    struct pg_connection *connection;
    struct event beat;
    bool listening; /* on this connection, */
    bool confirmed; /* and a heartbeat has come back on it */
    int64_t floor_us;
    int64_t sent_us;    /* the last heartbeat, */
    bool doubted;       /* which is in doubt */
    int64_t definition; /* of the table and its triggers, as the last heartbeat read it */
    enum { TRIGGERS_UNKNOWN, TRIGGERS_MISSING, TRIGGERS_PRESENT } triggers;
    bool pooler_said, bad_said; /* in the log */
};

static void start_timer(struct link *link, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);

    event_add(&link->beat, &delay);
}

/* Often enough that one that is a little late does not end trust. */
static int64_t heartbeat_interval_us(const struct link *link)
{
    int64_t part_us = link->env->config->cache_ttl_unlinked / 4;

    return part_us < heartbeat_most_us ? part_us : heartbeat_most_us;
}

/* What was changed while the triggers were off, or before they were there, has not been notified,
 * and only the change of their definition tells that they were. */
static void note_definition(struct link *link, int64_t definition)
{
    if (definition != link->definition)
        link->floor_us = clock_monotonic_us();
    link->definition = definition;
}

static void note_triggers(struct link *link, bool present)
{
    const struct log *log = &link->env->log;
    bool missed = link->triggers == TRIGGERS_MISSING;

    if (!present && !missed)
        log_warning(log,
                    "the triggers on %s do not notify of every change (some are missing, or not "
                    "ENABLE ALWAYS): a revocation is enforced within cache.ttl only; deploy the "
                    "migration \"notify\"",
                    link->env->config->postgres_table);
    else if (present && missed)
        log_info(log, "triggers notify of changes now");
    link->triggers = present ? TRIGGERS_PRESENT : TRIGGERS_MISSING;
    link->env->grounds.notified = present;
    link->env->metrics.value[METRIC_LINK_TRIGGER] = present;
}

/* A pooler answers with other sessions than the one that listens. */
static bool sees_pooler(struct link *link, const struct heartbeat *heartbeat)
{
    if (heartbeat->server_pid == pg_connection_server_pid(link->connection))
        return false;
    if (!link->pooler_said)
        log_error(&link->env->log,
                  "postgres.listen_dsn leads through a pooler, which drops notifications: a "
                  "revocation is enforced within cache.ttl_unlinked; name PostgreSQL itself");
    link->pooler_said = true;
    pg_connection_give_up(link->connection, "this is a pooler");
    return true;
}

/* Everything that was committed before the heartbeat was sent has been heard of: PostgreSQL sends
 * notifications before it says that it is ready for the next query. */
static void confirm(struct link *link)
{
    struct back_env *env = link->env;

    if (!link->confirmed) {
        log_info(&env->log, "the link is up: changes are heard of as they are committed");
        link->setup.on_doubt(link->setup.arg);
    }
    link->confirmed = true;
    env->grounds.confirmed_us = link->sent_us;
    if (link->floor_us > env->grounds.floor_us)
        env->grounds.floor_us = link->floor_us;
    back_env_post_grounds(env);
}

static void take_heartbeat(struct link *link, const struct heartbeat *heartbeat)
{
    struct back_env *env = link->env;
    int64_t now_us = clock_monotonic_us();

    env->metrics.value[METRIC_LINK_HEARTBEATS]++;
    env->metrics.value[METRIC_LINK_ROUND_TRIP] = (uint64_t)(now_us - link->sent_us);
    pg_clock_sample(&env->clock, link->sent_us, now_us, heartbeat->server_us);
    note_definition(link, heartbeat->definition);
    note_triggers(link, heartbeat->notifies);
    confirm(link);
}

static void on_heartbeat(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;
    struct heartbeat heartbeat;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED)
        pg_connection_give_up(link->connection, PQresultErrorMessage(result));
    else if (!heartbeat_query_read(result, &heartbeat))
        pg_connection_give_up(link->connection, "a heartbeat of an unexpected form");
    else if (!sees_pooler(link, &heartbeat))
        take_heartbeat(link, &heartbeat);
}

static void send_heartbeat(struct link *link)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_heartbeat,
        .arg = link,
    };

    heartbeat_query_bind(&query, link->env->config);
    link->sent_us = clock_monotonic_us();
    link->doubted = false;
    start_timer(link, heartbeat_interval_us(link));
    pg_connection_send(link->connection, &query);
}

static void on_listening(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;

    if (outcome == PG_REFUSED)
        pg_connection_give_up(link->connection, PQresultErrorMessage(result));
    if (outcome != PG_DONE)
        return;
    link->listening = true;
    /* What was committed before now is in every later read, and what comes is notified. */
    link->floor_us = clock_monotonic_us();
}

static void send_listen(struct link *link)
{
    struct pg_query query = {
        .sql = "LISTEN " NOTIFICATION_CHANNEL,
        .timeout_us = heartbeat_late_us,
        .done = on_listening,
        .arg = link,
    };

    pg_connection_send(link->connection, &query);
}

static void on_ready(void *arg)
{
    struct link *link = arg;

    if (!link->listening)
        send_listen(link);
    else if (!evtimer_pending(&link->beat, NULL))
        send_heartbeat(link); /* the first */
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    struct link *link = arg;

    (void)fd;
    (void)what;
    if (!link->listening)
        return;
    if (pg_connection_ready(link->connection)) {
        send_heartbeat(link);
        return;
    }
    start_timer(link, heartbeat_interval_us(link));
    if (link->doubted || clock_monotonic_us() - link->sent_us < doubt_us)
        return;
    link->doubted = true;
    link->setup.on_doubt(link->setup.arg);
}

static void on_down(void *arg)
{
    struct link *link = arg;

    if (link->confirmed)
        link->env->metrics.value[METRIC_LINK_LOSSES]++;
    link->listening = false;
    link->confirmed = false;
    event_del(&link->beat);
}

/* When the change was made, for all that is known. Everything committed before the last heartbeat
 * was sent has been heard of, and before LISTEN nothing is: a transaction that began long before
 * it was committed, or a NOTIFY by hand that tells another time, makes it no earlier. */
static int64_t changed_at_us(const struct link *link, const struct notification *notification)
{
    int64_t now_us = clock_monotonic_us();
    int64_t earliest_us = link->env->grounds.confirmed_us;
    int64_t at_us;

    if (!link->confirmed || notification->server_us == 0 ||
        !pg_clock_estimate(&link->env->clock, notification->server_us, &at_us))
        return TIME_NEVER;
    if (at_us > now_us)
        return now_us;
    return at_us < earliest_us ? earliest_us : at_us;
}

static void on_notify(void *arg, const char *payload)
{
    struct link *link = arg;
    struct notification notification;

    link->env->metrics.value[METRIC_LINK_NOTIFICATIONS]++;
    if (notification_parse((struct slice){payload, strlen(payload)}, &notification)) {
        link->setup.on_change(link->setup.arg, notification.all ? NULL : &notification.digest,
                              changed_at_us(link, &notification));
        return;
    }
    link->env->metrics.value[METRIC_LINK_BAD]++;
    if (!link->bad_said)
        log_warning(&link->env->log, "a notification on channel " NOTIFICATION_CHANNEL
                                     " is not of the trigger's making (said once)");
    link->bad_said = true;
}

struct link *link_new(const struct link_setup *setup)
{
    struct link *link = calloc(1, sizeof *link);
    const struct config *config = setup->env->config;

    if (!link)
        return NULL;
    link->setup = *setup;
    link->env = setup->env;
    event_assign(&link->beat, link->env->base, -1, 0, on_beat, link);
    link->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = setup->env,
        .purpose = "link",
        .dsn = config->postgres_listen_dsn[0] ? config->postgres_listen_dsn : config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .on_notify = on_notify,
        .arg = link,
    });
    if (!link->connection) {
        link_free(link);
        return NULL;
    }
    return link;
}

void link_free(struct link *link)
{
    if (!link)
        return;
    pg_connection_free(link->connection);
    event_del(&link->beat);
    free(link);
}

void link_configure(struct link *link)
{
    if (link->listening && pg_connection_ready(link->connection))
        send_heartbeat(link);
}

bool link_up(const struct link *link)
{
    return link->confirmed && link->env->grounds.confirmed_us >=
                                  clock_monotonic_us() - link->env->config->cache_ttl_unlinked;
}

const char *link_bound(const struct link *link)
{
    if (!link_up(link))
        return "cache.ttl_unlinked: the link is down";
    if (link->triggers != TRIGGERS_PRESENT)
        return "cache.ttl: triggers do not notify of every change";
    return "notification";
}
