/* SPDX-License-Identifier: MIT */
#include <apikeyd/changes/feed_postgres.h>

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include <apikeyd/changes/lease.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/postgres/pg_connection.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/wire/notification.h>

#include "heartbeat_query.h"
#include "notification_rate.h"
#include "relay.h"
#include "trigger_inspection.h"
#include "unannounced.h"

static const int64_t heartbeat_late_us = 3000000;
static const int64_t doubt_us = 100000; /* a heartbeat that takes longer is reported */

static const char listen_sql[] = "LISTEN " NOTIFICATION_CHANNEL;

/* The last statement of a session whose place another one takes. PostgreSQL's queue has the order
 * of commits, and a session that notifies reads all of the queue before its answer: so it has
 * delivered every change that the next session's LISTEN came too late for. Nobody listens on this
 * channel. */
static const char farewell_sql[] = "NOTIFY apikeyd_renewed";

/* Changes that a heartbeat finds, or that are coalesced, are reported within this time. */
static const int64_t delay_max_us = 1000000;

/* The trigger does not notify beyond this either: schema.sql. */
static const double queue_full = 0.5;

/* Whether every change is announced. SETTLING: the triggers are right, but a transaction that was
 * open when the definitions changed may have run the earlier ones. */
enum announced { NOT_INSPECTED, NOT_ANNOUNCED, SETTLING, ANNOUNCED };

struct feed_postgres {
    struct feed_postgres_setup setup;
    struct back_env *env;
    struct lease *lease;
    struct lease_stream stream;
    struct relay *relay; /* NULL: what is heard here is not passed on */
    struct pg_connection *connection;
    struct event heartbeat_timer;
    bool listening;  /* LISTEN has been answered on this connection, … */
    bool confirmed;  /* … and a heartbeat, too */
    int64_t sent_us; /* when the last heartbeat was sent */
    bool doubted;    /* the last heartbeat has been reported as late */
    bool due;        /* the next heartbeat goes out as soon as the session is free */
    bool renewed;    /* no heartbeat was answered since another session took the place of … */
    struct store_mark mark; /* … the one that led to this server and table */

    enum announced announced;
    int64_t definition;           /* of the table and its triggers, as the last heartbeat read it */
    struct inspection inspection; /* the triggers' fault, and transactions that may use others */
    unsigned key_scheme;          /* of the key columns that were inspected */
    struct schema_inspection expected;
    bool asked; /* since the last heartbeat, whether those have ended */
    struct unannounced unannounced;
    double queue_usage;

    struct notification_rate rate;
    struct event flood; /* when the coalesced change is due */

    bool pooler_logged, bad_logged, flood_logged, server_logged; /* in the log */
    const char *unread_logged;
};

static void log_unread(struct feed_postgres *feed)
{
    const struct log *log = &feed->env->log;
    const char *unread = feed->unannounced.unread;

    if (unread == feed->unread_logged)
        return;
    if (unread)
        log_warning(log, "change feed: unannounced changes may be missed, and revocations late: %s",
                    unread);
    else
        log_info(log, "change feed: apikeyd.unannounced_change can be read again");
    feed->unread_logged = unread;
}

/* The daemon hears of every change if triggers announce it, and if heartbeats find unannounced
 * changes. */
static const char *gap(const struct feed_postgres *feed)
{
    if (feed->announced == SETTLING)
        return "cache.ttl: transactions that were open when the triggers changed may still commit";
    if (feed->announced == NOT_INSPECTED)
        return "cache.ttl: the triggers are being inspected";
    if (feed->announced != ANNOUNCED)
        return "cache.ttl: triggers do not notify of every change";
    if (feed->unannounced.unread)
        return feed->unannounced.unread;
    if (!feed->unannounced.read)
        return "cache.ttl: apikeyd.unannounced_change has not been read yet";
    return NULL;
}

static const char *delay(const struct feed_postgres *feed)
{
    if (feed->queue_usage > queue_full)
        return "notification: by heartbeat, as PostgreSQL's notification queue is more than half "
               "full";
    if (evtimer_pending(&feed->flood, NULL))
        return "notification: once a second, as there is a flood of notifications";
    if (feed->inspection.by_heartbeat)
        return "notification: by heartbeat after a TRUNCATE of a partition, which has no trigger "
               "for it";
    return NULL;
}

static void tell_coverage(struct feed_postgres *feed)
{
    lease_covers(feed->lease, &feed->stream,
                 &(struct lease_coverage){gap(feed), delay(feed), delay_max_us});
}

static void tell_missing(struct feed_postgres *feed)
{
    lease_missing(feed->lease);
    relay_missing(feed->relay);
}

/* `server_us`: PostgreSQL's clock; 0: not known. */
static void tell_changed(struct feed_postgres *feed, const struct digest *digest, int64_t server_us)
{
    int64_t at_us;

    if (server_us == 0 || !pg_clock_estimate(&feed->env->clock, server_us, &at_us))
        at_us = TIME_NEVER;
    lease_changed(feed->lease, digest, at_us);
    relay_changed(feed->relay, digest, server_us);
}

/* PostgreSQL's clock read `server_us` after the heartbeat was sent. What it read when the heartbeat
 * was sent is earlier by the round trip at most, if the clocks run at rates that differ by up to an
 * eighth (pg_clock.h). */
static void relay_heartbeat(struct feed_postgres *feed, const struct heartbeat *heartbeat,
                            int64_t now_us)
{
    int64_t round_trip_us = now_us - feed->sent_us;

    relay_confirmed(feed->relay,
                    &(struct relay_confirmation){
                        .store = &heartbeat->store.id,
                        .expected = &feed->expected,
                        .server_us = heartbeat->server_us - round_trip_us - round_trip_us / 8,
                        .gap = gap(feed) != NULL,
                        .delay_us = delay(feed) ? delay_max_us : 0,
                    });
}

static void note_coverage(struct feed_postgres *feed)
{
    tell_coverage(feed);
    if (feed->announced == ANNOUNCED)
        log_unread(feed);
}

static void set_announced(struct feed_postgres *feed, enum announced announced)
{
    feed->announced = announced;
    note_coverage(feed);
}

/* Every transaction that may have run other triggers has ended, announced or not. */
static void settle(struct feed_postgres *feed)
{
    if (feed->announced != SETTLING || feed->inspection.writers[0])
        return;
    tell_missing(feed);
    set_announced(feed, ANNOUNCED);
    log_info(&feed->env->log, "change feed: triggers notify of every change now");
}

/* Changes made under other triggers, or before there were any, were not notified. Only the changed
 * definition shows that there were such triggers. */
static void note_definition(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    feed->asked = false;
    if (feed->announced == NOT_INSPECTED || heartbeat->definition != feed->definition) {
        tell_missing(feed);
        set_announced(feed, NOT_INSPECTED);
    }
    feed->definition = heartbeat->definition;
}

/* lock_not_available: send_lock_limit() bounds the wait for a lock. */
static bool is_locked(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && strcmp(state, "55P03") == 0;
}

static void on_inspected(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct feed_postgres *feed = arg;
    struct inspection inspection;

    if (outcome == PG_LATE || outcome == PG_LOST || feed->key_scheme != feed->env->key_scheme)
        return;
    if (outcome == PG_REFUSED && is_locked(result)) {
        feed->asked = true; /* asked again after the next heartbeat, when the lock may be gone */
        return;
    }
    if (outcome == PG_REFUSED || !trigger_inspection_read(result, &inspection)) {
        pg_connection_give_up(feed->connection, outcome == PG_REFUSED
                                                    ? PQresultErrorMessage(result)
                                                    : "an inspection of an unexpected form");
        return;
    }
    if (inspection.problem[0] && strcmp(inspection.problem, feed->inspection.problem) != 0)
        log_warning(&feed->env->log,
                    "change feed: the triggers on %s do not notify of every change: %s; a "
                    "revocation is enforced within cache.ttl only",
                    feed->env->config->postgres_table, inspection.problem);
    feed->inspection = inspection;
    feed->asked = true;
    if (inspection.problem[0])
        set_announced(feed, NOT_ANNOUNCED);
    else if (inspection.writers_known)
        set_announced(feed, SETTLING);
    settle(feed);
}

static void on_writers(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct feed_postgres *feed = arg;

    if (outcome != PG_DONE || !trigger_inspection_read_writers(result, feed->inspection.writers))
        return;
    settle(feed);
}

/* Ask whether the transactions that were changing the table at the inspection have ended. */
static void send_writers(struct feed_postgres *feed)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_writers,
        .arg = feed,
    };

    feed->asked = true;
    trigger_inspection_bind_writers(&query, feed->inspection.writers);
    pg_connection_send(feed->connection, &query);
}

static void send_inspection(struct feed_postgres *feed)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_inspected,
        .arg = feed,
    };

    feed->key_scheme = feed->env->key_scheme;
    trigger_inspection_bind(&query, &feed->expected);
    pg_connection_send(feed->connection, &query);
}

/* A pooler answers with other sessions than the one that listens. */
static bool sees_pooler(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    if (heartbeat->server_pid == pg_connection_server_pid(feed->connection))
        return false;
    if (!feed->pooler_logged)
        log_error(
            &feed->env->log,
            "change feed: postgres.listen_dsn leads through a pooler, which drops notifications; a "
            "revocation is enforced within cache.ttl_unlinked; name PostgreSQL itself");
    feed->pooler_logged = true;
    pg_connection_give_up(feed->connection, "this is a pooler");
    return true;
}

/* A server that was the primary before a failover, and does not know that it is not any more. */
static bool sees_old_server(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    char text[STORE_TEXT_SIZE];

    if (lease_store(feed->lease, &heartbeat->store)) {
        feed->server_logged = false;
        return false;
    }
    store_id_to_text(&heartbeat->store.id, text);
    if (!feed->server_logged)
        log_error(&feed->env->log,
                  "change feed: store %s is a standby, or on an earlier timeline than seen before; "
                  "the daemon does not listen there (logged once)",
                  text);
    feed->server_logged = true;
    pg_connection_give_up(feed->connection, "an old primary or a standby");
    return true;
}

static void note_queue(struct feed_postgres *feed, double usage)
{
    const struct log *log = &feed->env->log;
    bool full = usage > queue_full, was_full = feed->queue_usage > queue_full;

    if (full && !was_full)
        log_warning(log,
                    "change feed: PostgreSQL's notification queue is %.0f %% full: a session that "
                    "listens and does not read holds it up (see pg_stat_activity for old "
                    "transactions); the next heartbeat finds changes of keys meanwhile",
                    usage * 100);
    else if (!full && was_full)
        log_info(log, "change feed: PostgreSQL's notification queue has room again");
    feed->queue_usage = usage;
    feed->env->metrics.value[METRIC_FEED_QUEUE] = (uint64_t)(usage * 1e6);
}

/* Unannounced changes: the queue was full. */
static void note_unannounced(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    if (unannounced_take(&feed->unannounced, heartbeat))
        tell_missing(feed);
    if (heartbeat->unannounced) {
        feed->env->metrics.value[METRIC_FEED_UNANNOUNCED]++;
        tell_changed(feed, NULL, 0);
    }
    note_coverage(feed);
}

/* The daemon has heard of every change that was committed before the heartbeat was sent: PostgreSQL
 * sends notifications before it reports that it is ready for the next query. */
static void confirm(struct feed_postgres *feed)
{
    bool first = !feed->confirmed;

    feed->confirmed = true;
    if (!lease_confirmed(feed->lease, &feed->stream, feed->sent_us))
        feed->due = true;
    if (first) {
        log_write(&feed->env->log,
                  pg_connection_flaps(feed->connection) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                  "the change feed is up: changes are heard of as they are committed");
        feed->setup.on_up(feed->setup.arg, true);
    }
    feed->setup.on_heartbeat(feed->setup.arg);
}

/* The stream of a renewed session goes on where the last one ended only if both lead to one server.
 */
static bool has_moved(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    bool moved = feed->renewed && !store_mark_equal(&feed->mark, &heartbeat->store.mark);

    feed->renewed = false;
    feed->mark = heartbeat->store.mark;
    if (moved)
        pg_connection_give_up(feed->connection, "the renewed session leads to another server");
    return moved;
}

static void take_heartbeat(struct feed_postgres *feed, const struct heartbeat *heartbeat)
{
    struct back_env *env = feed->env;
    int64_t now_us = clock_monotonic_us();

    env->metrics.value[METRIC_FEED_HEARTBEATS]++;
    env->metrics.value[METRIC_FEED_ROUND_TRIP] = (uint64_t)(now_us - feed->sent_us);
    back_env_sample_clock(env, feed->sent_us, now_us, heartbeat->server_us);
    note_definition(feed, heartbeat);
    note_queue(feed, heartbeat->queue_usage);
    note_unannounced(feed, heartbeat);
    confirm(feed);
    relay_heartbeat(feed, heartbeat, now_us);
}

/* The heartbeat omits the table that could not be read. */
static void send_again(struct feed_postgres *feed, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    log_debug(&feed->env->log, "change feed: sending a heartbeat again: %.*s",
              (int)strcspn(message, "\n"), message);
    feed->due = true;
}

static void on_heartbeat(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct feed_postgres *feed = arg;
    struct heartbeat heartbeat;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED && unannounced_refused(&feed->unannounced, result))
        send_again(feed, result);
    else if (outcome == PG_REFUSED)
        pg_connection_give_up(feed->connection, PQresultErrorMessage(result));
    else if (!heartbeat_query_read(result, &heartbeat))
        pg_connection_give_up(feed->connection, "a heartbeat of an unexpected form");
    else if (!has_moved(feed, &heartbeat) && !sees_pooler(feed, &heartbeat) &&
             !sees_old_server(feed, &heartbeat))
        take_heartbeat(feed, &heartbeat);
}

static void send_heartbeat(struct feed_postgres *feed)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_heartbeat,
        .arg = feed,
    };

    heartbeat_query_bind(&query, feed->env->config, unannounced_begin(&feed->unannounced));
    feed->sent_us = clock_monotonic_us();
    feed->due = false;
    feed->doubted = false;
    timer_start(&feed->heartbeat_timer, lease_interval_us(feed->lease));
    pg_connection_send(feed->connection, &query);
}

static void on_listening(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct feed_postgres *feed = arg;

    if (outcome == PG_REFUSED)
        pg_connection_give_up(feed->connection, PQresultErrorMessage(result));
    if (outcome != PG_DONE)
        return;
    /* Every later read sees changes committed before now, and later changes are notified: the
     * watermark rises with the first heartbeat, which tells which store this is. */
    feed->listening = true;
}

static void send_listen(struct feed_postgres *feed)
{
    struct pg_query query = {
        .sql = listen_sql,
        .timeout_us = heartbeat_late_us,
        .done = on_listening,
        .arg = feed,
    };

    pg_connection_send(feed->connection, &query);
}

static void on_lock_limit(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct feed_postgres *feed = arg;

    (void)result;
    /* If the limit could not be set, a lock ends the session by a late heartbeat. */
    feed->unannounced.readable = outcome == PG_DONE || outcome == PG_REFUSED;
    feed->due = true; /* a heartbeat has to read the unannounced changes now */
}

/* The session must not miss heartbeats, neither for a lock on a table that it reads, nor for
 * compiling the inspection of many partitions, which takes longer than running it. The settings
 * wait until the session is known not to be a pooler's, because other clients would inherit them.
 */
static void send_lock_limit(struct feed_postgres *feed)
{
    struct pg_query query = {
        .sql = "SELECT pg_catalog.set_config('lock_timeout', '200ms', false), "
               "pg_catalog.set_config('jit', 'off', false)",
        .timeout_us = heartbeat_late_us,
        .done = on_lock_limit,
        .arg = feed,
    };

    pg_connection_send(feed->connection, &query);
}

static void on_ready(void *arg)
{
    struct feed_postgres *feed = arg;

    if (!feed->listening)
        send_listen(feed);
    else if (feed->confirmed && !feed->unannounced.readable)
        send_lock_limit(feed);
    else if (feed->due || !evtimer_pending(&feed->heartbeat_timer, NULL))
        send_heartbeat(feed);
    else if (feed->confirmed && feed->announced == NOT_INSPECTED && !feed->asked)
        send_inspection(feed);
    else if (feed->announced == SETTLING && !feed->asked)
        send_writers(feed);
    else if (feed->confirmed)
        feed->setup.on_idle(feed->setup.arg);
}

static void on_heartbeat_due(evutil_socket_t fd, short what, void *arg)
{
    struct feed_postgres *feed = arg;

    (void)fd;
    (void)what;
    if (!feed->listening)
        return;
    if (pg_connection_ready(feed->connection)) {
        send_heartbeat(feed);
        return;
    }
    feed->due = true;
    timer_start(&feed->heartbeat_timer, lease_interval_us(feed->lease));
    if (feed->doubted || clock_monotonic_us() - feed->sent_us < doubt_us)
        return;
    feed->doubted = true;
    feed->setup.on_doubt(feed->setup.arg);
}

static void on_down(void *arg)
{
    struct feed_postgres *feed = arg;
    bool confirmed = feed->confirmed;

    feed->listening = false;
    feed->confirmed = false;
    feed->due = false;
    feed->asked = false;
    feed->renewed = false;
    unannounced_lost(&feed->unannounced);
    /* The transactions that were changing the table are known by numbers of that server's run,
     * which a later run uses again. */
    if (feed->announced != ANNOUNCED)
        set_announced(feed, NOT_INSPECTED);
    event_del(&feed->heartbeat_timer);
    lease_down(feed->lease, &feed->stream);
    relay_down(feed->relay);
    if (confirmed)
        feed->setup.on_up(feed->setup.arg, false);
}

/* The stream goes on: the next session listened before this one was done. */
static void on_renewed(void *arg)
{
    struct feed_postgres *feed = arg;

    feed->renewed = true;
    feed->unannounced.readable = false; /* the limit on locks is the session's */
}

/* Any key may have changed. */
static void change_all(struct feed_postgres *feed, int64_t server_us)
{
    notification_rate_cleared(&feed->rate, clock_monotonic_us());
    event_del(&feed->flood);
    tell_coverage(feed);
    tell_changed(feed, NULL, server_us);
}

static void on_flood(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    change_all(arg, 0);
}

/* Any role may notify. Notifications that come faster than keys change become one change of all
 * keys, within a second. */
static void coalesce(struct feed_postgres *feed, int64_t due_us)
{
    feed->env->metrics.value[METRIC_FEED_COALESCED]++;
    if (!evtimer_pending(&feed->flood, NULL)) {
        timer_start(&feed->flood, due_us - clock_monotonic_us());
        tell_coverage(feed);
    }
    if (!feed->flood_logged)
        log_warning(&feed->env->log, "change feed: notifications on channel " NOTIFICATION_CHANNEL
                                     " come faster than keys change; all keys are looked up again "
                                     "once a second (logged once)");
    feed->flood_logged = true;
}

static void on_notify(void *arg, const char *payload)
{
    struct feed_postgres *feed = arg;
    struct notification notification;
    int64_t due_us;

    feed->env->metrics.value[METRIC_FEED_NOTIFICATIONS]++;
    if (!notification_parse((struct slice){payload, strlen(payload)}, &notification)) {
        feed->env->metrics.value[METRIC_FEED_BAD]++;
        if (!feed->bad_logged)
            log_warning(
                &feed->env->log,
                "change feed: ignoring a malformed notification on channel " NOTIFICATION_CHANNEL
                " (logged once)");
        feed->bad_logged = true;
        return;
    }
    if (!notification_rate_take(&feed->rate, notification.all, clock_monotonic_us(), &due_us))
        coalesce(feed, due_us);
    else if (notification.all)
        change_all(feed, notification.server_us);
    else
        tell_changed(feed, &notification.digest, notification.server_us);
}

struct feed_postgres *feed_postgres_new(const struct feed_postgres_setup *setup)
{
    struct feed_postgres *feed = calloc(1, sizeof *feed);
    const struct config *config = setup->env->config;

    if (!feed)
        return NULL;
    feed->setup = *setup;
    feed->env = setup->env;
    feed->lease = setup->lease;
    event_assign(&feed->heartbeat_timer, feed->env->base, -1, 0, on_heartbeat_due, feed);
    event_assign(&feed->flood, feed->env->base, -1, 0, on_flood, feed);
    notification_rate_init(&feed->rate);
    schema_inspection_init(&feed->expected, config);
    if (config->feed_relay) {
        feed->relay = relay_new(feed->env);
        if (!feed->relay)
            goto fail;
    }
    feed->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = setup->env,
        .purpose = "feed",
        .rank = PG_RANK_FEED,
        .dsn = config->postgres_listen_dsn[0] ? config->postgres_listen_dsn : config->postgres_dsn,
        .on_ready = on_ready,
        .on_down = on_down,
        .prelude = listen_sql,
        .farewell = farewell_sql,
        .on_renewed = on_renewed,
        .on_notify = on_notify,
        .arg = feed,
    });
    if (!feed->connection)
        goto fail;
    return feed;

fail:
    feed_postgres_free(feed);
    return NULL;
}

void feed_postgres_free(struct feed_postgres *feed)
{
    if (!feed)
        return;
    pg_connection_free(feed->connection);
    relay_free(feed->relay);
    event_del(&feed->heartbeat_timer);
    event_del(&feed->flood);
    schema_inspection_done(&feed->expected);
    free(feed);
}

/* Other key columns need other triggers. */
void feed_postgres_configure(struct feed_postgres *feed)
{
    if (!feed)
        return;
    if (feed->key_scheme != feed->env->key_scheme) {
        schema_inspection_done(&feed->expected);
        schema_inspection_init(&feed->expected, feed->env->config);
        feed->asked = false;
        set_announced(feed, NOT_INSPECTED);
    }
    feed_postgres_heartbeat(feed);
}

void feed_postgres_heartbeat(struct feed_postgres *feed)
{
    if (!feed)
        return;
    if (feed->listening && pg_connection_ready(feed->connection))
        send_heartbeat(feed);
    else
        feed->due = feed->listening;
}

bool feed_postgres_lend(struct feed_postgres *feed, const struct pg_query *query)
{
    if (!feed->confirmed || feed->due || !pg_connection_ready(feed->connection))
        return false;
    if (query)
        pg_connection_send(feed->connection, query);
    return true;
}
