/* SPDX-License-Identifier: MIT */
#include "apikeyd/link.h"

#include <stdlib.h>

#include <event2/event_struct.h>

#include "apikeyd/clock.h"
#include "apikeyd/pg_array.h"
#include "apikeyd/pg_connection.h"

static const int64_t heartbeat_most_us = 1000000; /* from one heartbeat to the next */
static const int64_t heartbeat_late_us = 3000000;

enum { FIELD_CLOCK, FIELD_PID, FIELD_TRIGGER, FIELDS };

/* tgtype: INSERT is 4, DELETE 8, UPDATE 16 and TRUNCATE 32 (pg_trigger.h); tgenabled: 'O' fires
 * but in a replica's session, 'A' always. */
static const char heartbeat_sql[] =
    "SELECT clock_timestamp(), pg_backend_pid(), "
    "(SELECT coalesce(bit_or(t.tgtype), 0) & 60 = 60 "
    "FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid "
    "JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relname = $2 AND CASE WHEN $1 = '' THEN pg_catalog.pg_table_is_visible(c.oid) "
    "ELSE n.nspname = $1 END "
    "AND p.proname = 'notify_key_change' AND t.tgenabled IN ('O', 'A'))";

enum trigger { TRIGGER_UNKNOWN, TRIGGER_MISSING, TRIGGER_PRESENT };

struct link {
    struct link_setup setup;
    struct back_env *env;
    struct pg_connection *connection;
    char *table;
    struct slice schema_name, table_name; /* in it */
    struct event beat;
    bool listening; /* on this connection, */
    bool confirmed; /* and a heartbeat has come back on it */
    int64_t floor_us;
    int64_t sent_us; /* the last heartbeat */
    enum trigger trigger;
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

static void note_trigger(struct link *link, bool present)
{
    const struct log *log = &link->env->log;
    enum trigger found = present ? TRIGGER_PRESENT : TRIGGER_MISSING;

    if (found == link->trigger)
        return;
    if (!present)
        log_warning(log,
                    "no trigger on %s notifies of changes: a revocation is enforced within "
                    "cache.ttl only; deploy the migration \"notify\"",
                    link->env->config->postgres_table);
    else if (link->trigger == TRIGGER_MISSING)
        log_info(log, "a trigger notifies of changes now");
    /* What changed before it was there has not been notified. */
    if (present)
        link->floor_us = clock_monotonic_us();
    link->trigger = found;
    link->env->counters.value[COUNT_LINK_TRIGGER] = present;
}

/* A pooler answers with other sessions than the one that listens. */
static bool sees_pooler(struct link *link, const PGresult *result)
{
    if (pg_get_int32(PQgetvalue(result, 0, FIELD_PID)) ==
        pg_connection_server_pid(link->connection))
        return false;
    if (!link->pooler_said)
        log_error(&link->env->log,
                  "postgres.listen_dsn leads through a pooler, which drops notifications: a "
                  "revocation is enforced within cache.ttl_unlinked; name PostgreSQL itself");
    link->pooler_said = true;
    pg_connection_give_up(link->connection, "this is a pooler");
    return true;
}

static bool heartbeat_valid(const PGresult *result)
{
    static const int len[FIELDS] = {8, 4, 1};
    bool valid = PQntuples(result) == 1 && PQnfields(result) == FIELDS;

    for (int i = 0; valid && i < FIELDS; i++)
        valid = PQgetlength(result, 0, i) == len[i];
    return valid;
}

/* Everything that was committed before the heartbeat was sent has been heard of: PostgreSQL sends
 * notifications before it says that it is ready for the next query. */
static void confirm(struct link *link, const PGresult *result)
{
    struct back_env *env = link->env;
    int64_t now_us = clock_monotonic_us();

    pg_clock_sample(&env->clock, link->sent_us, now_us,
                    pg_get_int64(PQgetvalue(result, 0, FIELD_CLOCK)) + PG_EPOCH_US);
    note_trigger(link, PQgetvalue(result, 0, FIELD_TRIGGER)[0] != 0);
    if (!link->confirmed)
        log_info(&env->log, "the link is up: changes are heard of as they are committed");
    link->confirmed = true;
    env->counters.value[COUNT_LINK_HEARTBEATS]++;
    env->counters.value[COUNT_LINK_ROUND_TRIP] = (uint64_t)(now_us - link->sent_us);
    env->grounds.confirmed_us = link->sent_us;
    if (link->floor_us > env->grounds.floor_us)
        env->grounds.floor_us = link->floor_us;
    back_env_post_grounds(env);
}

static void on_heartbeat(void *arg, enum pg_outcome outcome, const PGresult *result)
{
    struct link *link = arg;

    if (outcome == PG_LATE || outcome == PG_LOST)
        return;
    if (outcome == PG_REFUSED)
        pg_connection_give_up(link->connection, PQresultErrorMessage(result));
    else if (!heartbeat_valid(result))
        pg_connection_give_up(link->connection, "a heartbeat of an unexpected form");
    else if (!sees_pooler(link, result))
        confirm(link, result);
}

static void send_heartbeat(struct link *link)
{
    struct pg_query query = {
        .sql = heartbeat_sql,
        .params = 2,
        .param = {{PG_TEXT, link->schema_name}, {PG_TEXT, link->table_name}},
        .timeout_us = heartbeat_late_us,
        .done = on_heartbeat,
        .arg = link,
    };

    link->sent_us = clock_monotonic_us();
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
    else if (!link->confirmed)
        send_heartbeat(link);
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
    link->setup.on_overdue(link->setup.arg);
}

static void on_down(void *arg)
{
    struct link *link = arg;

    if (link->confirmed)
        link->env->counters.value[COUNT_LINK_LOSSES]++;
    link->listening = false;
    link->confirmed = false;
    event_del(&link->beat);
}

static void on_notify(void *arg, const char *payload)
{
    struct link *link = arg;
    struct notification notification;

    link->env->counters.value[COUNT_LINK_NOTIFICATIONS]++;
    if (notification_parse((struct slice){payload, strlen(payload)}, &notification)) {
        link->setup.on_change(link->setup.arg, &notification);
        return;
    }
    link->env->counters.value[COUNT_LINK_BAD]++;
    if (!link->bad_said)
        log_warning(&link->env->log, "a notification on channel " NOTIFICATION_CHANNEL
                                     " is not of the trigger's making (said once)");
    link->bad_said = true;
}

/* "schema.table", or a table that the search path finds. */
static bool take_table(struct link *link, const char *name)
{
    link->table = strdup(name);
    if (!link->table)
        return false;
    const char *dot = strchr(link->table, '.');
    const char *table = dot ? dot + 1 : link->table;
    link->schema_name = (struct slice){link->table, dot ? (size_t)(dot - link->table) : 0};
    link->table_name = (struct slice){table, strlen(table)};
    return true;
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
    if (!link->connection || !take_table(link, config->postgres_table)) {
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
    free(link->table);
    free(link);
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
    if (link->trigger != TRIGGER_PRESENT)
        return "cache.ttl: no trigger notifies of changes";
    return "notification";
}
