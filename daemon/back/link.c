/* SPDX-License-Identifier: MIT */
#include "apikeyd/link.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/heartbeat_query.h"
#include "apikeyd/notification.h"
#include "apikeyd/pg_connection.h"
#include "apikeyd/timer.h"
#include "apikeyd/trigger_inspection.h"
#include "notification_rate.h"
#include "unannounced.h"

static const int64_t heartbeat_most_us = 1000000; /* from one heartbeat to the next */
static const int64_t heartbeat_late_us = 3000000;
static const int64_t doubt_us = 100000; /* a heartbeat that takes longer is told of */

/* The trigger does not notify beyond this either: migrations/deploy/announce.sql. */
static const double queue_full = 0.5;

/* Whether every change is announced. SETTLING: all is as it should be, but a transaction that was
 * open when the definitions changed may have run the earlier ones. */
enum announced { NOT_INSPECTED, NOT_ANNOUNCED, SETTLING, ANNOUNCED };

struct link {
    struct link_setup setup;
    struct back_env *env;
    struct pg_connection *connection;
    struct event beat;
    bool listening;               /* on this connection, */
    bool confirmed;               /* and a heartbeat has come back on it */
    int64_t sent_us, previous_us; /* the last heartbeat, and the one before it */
    bool doubted;                 /* the last one is in doubt */
    bool due;                     /* the next one is, as soon as the session is free */

    enum announced announced;
    int64_t definition;           /* of the table and its triggers, as the last heartbeat read it */
    struct inspection inspection; /* what is wrong with the triggers, and who may use others */
    bool asked;                   /* since the last heartbeat, whether those have ended */
    struct unannounced unannounced;
    double queue_usage;

    struct notification_rate rate;
    struct event flood; /* when what was coalesced is due */

    bool pooler_said, bad_said, flood_said, server_said; /* in the log */
    const char *unread_said;
};

/* Often enough that one that is a little late does not end trust. */
static int64_t heartbeat_interval_us(const struct link *link)
{
    int64_t part_us = link->env->config->cache_ttl_unlinked / 4;

    return part_us < heartbeat_most_us ? part_us : heartbeat_most_us;
}

static void say_unread(struct link *link)
{
    const struct log *log = &link->env->log;
    const char *unread = link->unannounced.unread;

    if (unread == link->unread_said)
        return;
    if (unread)
        log_warning(log, "changes that are not notified may be missed, and revocations late: %s",
                    unread);
    else
        log_info(log, "apikeyd.unannounced_change is read again");
    link->unread_said = unread;
}

/* Every change is heard of if triggers announce it, and if what they cannot notify is found. */
static void note_notified(struct link *link)
{
    bool announced = link->announced == ANNOUNCED;
    bool notified = announced && link->unannounced.read;

    link->env->grounds.notified = notified;
    link->env->metrics.value[METRIC_LINK_TRIGGER] = notified;
    if (announced)
        say_unread(link);
}

static void set_announced(struct link *link, enum announced announced)
{
    link->announced = announced;
    note_notified(link);
}

/* Every transaction that may have run other triggers has ended, announced or not. */
static void settle(struct link *link)
{
    if (link->announced != SETTLING || link->inspection.writers[0])
        return;
    back_env_raise_floor(link->env);
    set_announced(link, ANNOUNCED);
    log_info(&link->env->log, "triggers notify of every change now");
}

/* What was changed while the triggers were others, or before they were there, has not been
 * notified, and only the change of their definition tells that they were. */
static void note_definition(struct link *link, const struct heartbeat *heartbeat)
{
    link->asked = false;
    if (link->announced == NOT_INSPECTED || heartbeat->definition != link->definition) {
        back_env_raise_floor(link->env);
        set_announced(link, NOT_INSPECTED);
    }
    link->definition = heartbeat->definition;
}

static void on_inspected(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;
    struct inspection inspection;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED || !trigger_inspection_read(result, &inspection)) {
        pg_connection_give_up(link->connection, outcome == PG_REFUSED
                                                    ? PQresultErrorMessage(result)
                                                    : "an inspection of an unexpected form");
        return;
    }
    if (inspection.problem[0] && strcmp(inspection.problem, link->inspection.problem) != 0)
        log_warning(&link->env->log,
                    "the triggers on %s do not notify of every change: %s; a revocation is "
                    "enforced within cache.ttl only; deploy the migrations",
                    link->env->config->postgres_table, inspection.problem);
    link->inspection = inspection;
    link->asked = true;
    if (inspection.problem[0])
        set_announced(link, NOT_ANNOUNCED);
    else if (inspection.writers_known)
        set_announced(link, SETTLING);
    settle(link);
    back_env_post_grounds(link->env);
}

static void on_writers(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;

    if (outcome != PG_DONE || !trigger_inspection_read_writers(result, link->inspection.writers))
        return;
    settle(link);
    back_env_post_grounds(link->env);
}

/* Have those who were changing the table at the inspection ended? */
static void send_writers(struct link *link)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_writers,
        .arg = link,
    };

    link->asked = true;
    trigger_inspection_bind_writers(&query, link->inspection.writers);
    pg_connection_send(link->connection, &query);
}

static void send_inspection(struct link *link)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_inspected,
        .arg = link,
    };

    trigger_inspection_bind(&query, link->env->config);
    pg_connection_send(link->connection, &query);
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

/* A server that was the primary before a failover, and does not know that it is not any more. */
static bool sees_old_server(struct link *link, const struct heartbeat *heartbeat)
{
    char text[STORE_TEXT_SIZE];

    if (!stores_outdated(&link->env->stores, &heartbeat->store))
        return false;
    stores_learn(&link->env->stores, &heartbeat->store);
    store_id_to_text(&heartbeat->store.id, text);
    if (!link->server_said)
        log_error(&link->env->log,
                  "store %s is a standby, or on a timeline before one that was seen: not listening "
                  "there (logged once)",
                  text);
    link->server_said = true;
    pg_connection_give_up(link->connection, "an old primary or a standby");
    return true;
}

static void note_queue(struct link *link, double usage)
{
    const struct log *log = &link->env->log;
    bool full = usage > queue_full, was_full = link->queue_usage > queue_full;

    if (full && !was_full)
        log_warning(
            log,
            "PostgreSQL's notification queue is %.0f %% full: a session that listens and "
            "does not read holds it up (see pg_stat_activity for old transactions); changes "
            "of keys are found by the next heartbeat meanwhile",
            usage * 100);
    else if (!full && was_full)
        log_info(log, "PostgreSQL's notification queue has room again");
    link->queue_usage = usage;
    link->env->metrics.value[METRIC_LINK_QUEUE] = (uint64_t)(usage * 1e6);
}

/* What could not be notified, as the queue was full. */
static void note_unannounced(struct link *link, const struct heartbeat *heartbeat)
{
    if (unannounced_take(&link->unannounced, heartbeat))
        back_env_raise_floor(link->env);
    note_notified(link);
    if (!heartbeat->unannounced)
        return;
    link->env->metrics.value[METRIC_LINK_UNANNOUNCED]++;
    link->setup.on_change(link->setup.arg, NULL, TIME_NEVER);
}

/* Lookups and the link lead to one store, or they do not. When they do again, nobody can tell which
 * verdicts were read elsewhere: all are forgotten, for stale service too. */
static void note_store(struct link *link, const struct heartbeat *heartbeat)
{
    struct back_env *env = link->env;

    link->server_said = false;
    back_env_store_changed(env, stores_feed(&env->stores, &heartbeat->store));
    if (env->grounds.elsewhere && link->setup.lookups_agree(link->setup.arg, link->previous_us)) {
        env->grounds.elsewhere = false;
        back_env_forget(env);
        log_info(&env->log, "lookups are answered where the link listens again");
    }
    if (!link->confirmed)
        back_env_raise_floor(env);
}

/* Everything that was committed before the heartbeat was sent has been heard of: PostgreSQL sends
 * notifications before it says that it is ready for the next query. */
static void confirm(struct link *link)
{
    struct back_env *env = link->env;
    bool first = !link->confirmed;

    link->confirmed = true;
    grounds_confirm(&env->grounds, link->sent_us);
    link->due = link->due || link->sent_us < env->grounds.jumped_us;
    back_env_post_grounds(env);
    if (first) {
        log_info(&env->log, "the link is up: changes are heard of as they are committed");
        link->setup.on_up(link->setup.arg, true);
    }
    link->setup.on_beat(link->setup.arg);
}

static void take_heartbeat(struct link *link, const struct heartbeat *heartbeat)
{
    struct back_env *env = link->env;
    int64_t now_us = clock_monotonic_us();

    env->metrics.value[METRIC_LINK_HEARTBEATS]++;
    env->metrics.value[METRIC_LINK_ROUND_TRIP] = (uint64_t)(now_us - link->sent_us);
    back_env_sample_clock(env, link->sent_us, now_us, heartbeat->server_us);
    note_store(link, heartbeat);
    note_definition(link, heartbeat);
    note_queue(link, heartbeat->queue_usage);
    note_unannounced(link, heartbeat);
    confirm(link);
}

/* The heartbeat goes without what could not be read. */
static void send_again(struct link *link, const PGresult *result)
{
    const char *message = PQresultErrorMessage(result);

    log_debug(&link->env->log, "a heartbeat is sent again: %.*s", (int)strcspn(message, "\n"),
              message);
    link->due = true;
}

static void on_heartbeat(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;
    struct heartbeat heartbeat;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED && unannounced_refused(&link->unannounced, result))
        send_again(link, result);
    else if (outcome == PG_REFUSED)
        pg_connection_give_up(link->connection, PQresultErrorMessage(result));
    else if (!heartbeat_query_read(result, &heartbeat))
        pg_connection_give_up(link->connection, "a heartbeat of an unexpected form");
    else if (!sees_pooler(link, &heartbeat) && !sees_old_server(link, &heartbeat))
        take_heartbeat(link, &heartbeat);
}

static void send_heartbeat(struct link *link)
{
    struct pg_query query = {
        .timeout_us = heartbeat_late_us,
        .done = on_heartbeat,
        .arg = link,
    };

    heartbeat_query_bind(&query, link->env->config, unannounced_begin(&link->unannounced));
    link->previous_us = link->sent_us;
    link->sent_us = clock_monotonic_us();
    link->due = false;
    link->doubted = false;
    timer_start(&link->beat, heartbeat_interval_us(link));
    pg_connection_send(link->connection, &query);
}

static void on_listening(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;

    if (outcome == PG_REFUSED)
        pg_connection_give_up(link->connection, PQresultErrorMessage(result));
    if (outcome != PG_DONE)
        return;
    /* What was committed before now is in every later read, and what comes is notified: the floor
     * rises with the first heartbeat, which tells where this is. */
    link->listening = true;
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

static void on_lock_limit(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;

    (void)result;
    /* Without it a lock ends the session, when a heartbeat is late. */
    link->unannounced.readable = outcome == PG_DONE || outcome == PG_REFUSED;
    link->due = true; /* until a heartbeat has read them, nothing is known to be notified */
}

/* What the session reads of tables somebody may lock: it must not miss heartbeats for that. Not
 * before it is known to be no pooler's, which others would have it from. */
static void send_lock_limit(struct link *link)
{
    struct pg_query query = {
        .sql = "SELECT pg_catalog.set_config('lock_timeout', '200ms', false)",
        .timeout_us = heartbeat_late_us,
        .done = on_lock_limit,
        .arg = link,
    };

    pg_connection_send(link->connection, &query);
}

static void on_ready(void *arg)
{
    struct link *link = arg;

    if (!link->listening)
        send_listen(link);
    else if (link->due || !evtimer_pending(&link->beat, NULL))
        send_heartbeat(link);
    else if (link->confirmed && !link->unannounced.readable)
        send_lock_limit(link);
    else if (link->confirmed && link->announced == NOT_INSPECTED && !link->asked)
        send_inspection(link);
    else if (link->announced == SETTLING && !link->asked)
        send_writers(link);
    else if (link->confirmed)
        link->setup.on_idle(link->setup.arg);
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
    link->due = true;
    timer_start(&link->beat, heartbeat_interval_us(link));
    if (link->doubted || clock_monotonic_us() - link->sent_us < doubt_us)
        return;
    link->doubted = true;
    link->setup.on_doubt(link->setup.arg);
}

static void on_down(void *arg)
{
    struct link *link = arg;
    bool confirmed = link->confirmed;

    link->listening = false;
    link->confirmed = false;
    link->due = false;
    link->asked = false;
    unannounced_lost(&link->unannounced);
    /* Who was changing the table was told by that server's run, whose numbers are used again. */
    if (link->announced != ANNOUNCED)
        set_announced(link, NOT_INSPECTED);
    event_del(&link->beat);
    stores_feed_lost(&link->env->stores);
    if (confirmed) {
        link->env->metrics.value[METRIC_LINK_LOSSES]++;
        link->setup.on_up(link->setup.arg, false);
    }
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

/* Everything may have changed, as far as anybody has told. */
static void change_all(struct link *link, int64_t changed_at_us)
{
    notification_rate_cleared(&link->rate, clock_monotonic_us());
    event_del(&link->flood);
    link->setup.on_change(link->setup.arg, NULL, changed_at_us);
}

static void on_flood(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    change_all(arg, TIME_NEVER);
}

/* Any role may notify: what comes faster than keys change becomes one change of everything, soon.
 */
static void coalesce(struct link *link, int64_t due_us)
{
    link->env->metrics.value[METRIC_LINK_COALESCED]++;
    if (!evtimer_pending(&link->flood, NULL))
        timer_start(&link->flood, due_us - clock_monotonic_us());
    if (!link->flood_said)
        log_warning(
            &link->env->log,
            "notifications on channel " NOTIFICATION_CHANNEL
            " come faster than they are taken one by one: all keys are looked up anew once a "
            "second (logged once)");
    link->flood_said = true;
}

static void on_notify(void *arg, const char *payload)
{
    struct link *link = arg;
    struct notification notification;
    int64_t due_us;

    link->env->metrics.value[METRIC_LINK_NOTIFICATIONS]++;
    if (!notification_parse((struct slice){payload, strlen(payload)}, &notification)) {
        link->env->metrics.value[METRIC_LINK_BAD]++;
        if (!link->bad_said)
            log_warning(&link->env->log, "a notification on channel " NOTIFICATION_CHANNEL
                                         " is not of the trigger's making (said once)");
        link->bad_said = true;
        return;
    }
    if (!notification_rate_take(&link->rate, notification.all, clock_monotonic_us(), &due_us))
        coalesce(link, due_us);
    else if (notification.all)
        change_all(link, changed_at_us(link, &notification));
    else
        link->setup.on_change(link->setup.arg, &notification.digest,
                              changed_at_us(link, &notification));
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
    event_assign(&link->flood, link->env->base, -1, 0, on_flood, link);
    notification_rate_init(&link->rate);
    link->connection = pg_connection_new(&(struct pg_connection_setup){
        .env = setup->env,
        .purpose = "link",
        .rank = PG_RANK_FEED,
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
    event_del(&link->flood);
    free(link);
}

void link_configure(struct link *link)
{
    link_beat(link);
}

void link_beat(struct link *link)
{
    if (link->listening && pg_connection_ready(link->connection))
        send_heartbeat(link);
    else
        link->due = link->listening;
}

bool link_up(const struct link *link)
{
    return link->confirmed && link->env->grounds.confirmed_us >=
                                  clock_monotonic_us() - link->env->config->cache_ttl_unlinked;
}

bool link_lend(struct link *link, const struct pg_query *query)
{
    if (!link->confirmed || link->due || !pg_connection_ready(link->connection))
        return false;
    if (query)
        pg_connection_send(link->connection, query);
    return true;
}

struct bound link_bound(const struct link *link)
{
    const struct config *config = link->env->config;

    if (!link_up(link))
        return (struct bound){config->cache_ttl_unlinked, "cache.ttl_unlinked: the link is down"};
    if (link->env->grounds.elsewhere)
        return (struct bound){
            config->cache_ttl_unlinked,
            "cache.ttl_unlinked: lookups are not answered where the link listens"};
    if (link->announced == SETTLING)
        return (struct bound){config->cache_ttl, "cache.ttl: transactions that were open when the "
                                                 "triggers changed may still commit"};
    if (link->announced == NOT_INSPECTED)
        return (struct bound){config->cache_ttl, "cache.ttl: the triggers are being inspected"};
    if (link->announced != ANNOUNCED)
        return (struct bound){config->cache_ttl,
                              "cache.ttl: triggers do not notify of every change"};
    if (link->unannounced.unread)
        return (struct bound){config->cache_ttl, link->unannounced.unread};
    if (!link->unannounced.read)
        return (struct bound){config->cache_ttl,
                              "cache.ttl: apikeyd.unannounced_change has not been read yet"};
    if (link->env->grounds.confirmed_us < clock_monotonic_us() - 2 * heartbeat_interval_us(link))
        return (struct bound){config->cache_ttl_unlinked,
                              "cache.ttl_unlinked: a heartbeat is late"};
    if (link->queue_usage > queue_full)
        return (struct bound){heartbeat_most_us, "notification: by heartbeat, as PostgreSQL's "
                                                 "notification queue is more than half full"};
    if (evtimer_pending(&link->flood, NULL))
        return (struct bound){heartbeat_most_us,
                              "notification: once a second, as there is a flood of notifications"};
    return (struct bound){0, "notification"};
}
