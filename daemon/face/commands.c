/* SPDX-License-Identifier: MIT */
#include <apikeyd/face/commands.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/resp_reply.h>
#include <apikeyd/wire/resp_request.h>

#include "admin.h"

enum { WITHIN_MAX_MS = 9999999, NAME_SIZE = 64 };

/* The facts that a connection has told of itself. */
struct resp_client {
    char name[NAME_SIZE];
};

struct command {
    const char *name;
    size_t min, max; /* arguments, the name included */
    bool admin;      /* on the admin socket only */
    void (*run)(struct front *front, struct connection *connection,
                const struct resp_request *request);
    const char *summary;
};

static void write_resp(struct front *front, struct buffer *out, const struct answer *answer,
                       const struct reply_encoder *encoder)
{
    (void)front;
    (void)encoder;
    resp_verdict(out, answer->verdict, answer->why);
}

/* "WITHIN <ms>"; false when it is anything else. */
static bool parse_within(const struct resp_request *request, int64_t *ret_ms)
{
    return request->argc == 4 && slice_is(request->argv[2], "WITHIN") &&
           slice_number(request->argv[3], ret_ms) && *ret_ms > 0 && *ret_ms <= WITHIN_MAX_MS;
}

static void refuse_key(struct front *front, struct connection *connection, const char *wrong)
{
    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    resp_error(connection_reply(connection), "ERR %s", wrong);
}

static void run_check(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    const char *wrong = "syntax: CHECK <key id> [WITHIN <ms from 1 to 9999999>]";
    struct check check = {
        .connection = connection, .key = request->argv[1], .encoder = {.write = write_resp}};

    if (request->argc <= 2 || parse_within(request, &check.within_ms))
        wrong = check_key(front, &check);
    if (wrong)
        refuse_key(front, connection, wrong);
}

/* As run_check(), for a CHECK that the lookahead has parsed. */
static size_t run_check_ahead(struct front *front, struct connection *connection,
                              const struct ahead *ahead)
{
    struct check check = {.connection = connection,
                          .key = ahead->key,
                          .digest = ahead->digest,
                          .encoder = {.write = write_resp}};
    const char *wrong = check_digest(front, &check);

    connection->requests++;
    connection->last_command = "CHECK";
    if (wrong)
        refuse_key(front, connection, wrong);
    return ahead->taken;
}

static void ping(struct front *front, struct connection *connection,
                 const struct resp_request *request)
{
    (void)front;
    if (request->argc > 1)
        resp_bulk(connection_reply(connection), request->argv[1]);
    else
        resp_simple(connection_reply(connection), "PONG");
}

static void quit(struct front *front, struct connection *connection,
                 const struct resp_request *request)
{
    (void)front;
    (void)request;
    resp_simple(connection_reply(connection), "OK");
    connection_finish(connection);
}

static void reset(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    struct resp_client *client = connection->state;

    (void)front;
    (void)request;
    client->name[0] = '\0';
    resp_simple(connection_reply(connection), "RESET");
}

/* SELECT 0 succeeds, for clients that always send it. There is one database. */
static void select_db(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    (void)front;
    if (slice_is(request->argv[1], "0"))
        resp_simple(connection_reply(connection), "OK");
    else
        resp_error(connection_reply(connection), "ERR DB index is out of range");
}

static const char *client_name(const struct connection *connection)
{
    const struct resp_client *client = connection->state;

    return client->name;
}

/* Names are shown in CLIENT LIST, a line each, so blanks and line breaks are refused. */
static void set_name(struct connection *connection, struct slice name)
{
    struct buffer *out = connection_reply(connection);
    struct resp_client *client = connection->state;

    if (name.len >= NAME_SIZE) {
        resp_error(out, "ERR client names have at most %d bytes", NAME_SIZE - 1);
        return;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] <= ' ' || name.at[i] > '~') {
            resp_error(out, "ERR Client names cannot contain spaces, newlines or special "
                            "characters.");
            return;
        }
    }
    memcpy(client->name, name.at, name.len);
    client->name[name.len] = '\0';
    resp_simple(out, "OK");
}

/* RESP2 only: HELLO 3 is refused in the way that makes clients fall back. */
static void hello(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);

    (void)front;
    if (request->argc > 1 && !slice_is(request->argv[1], "2")) {
        resp_error(out, "NOPROTO unsupported protocol version");
        return;
    }
    if (request->argc > 2 && !(request->argc == 4 && slice_is(request->argv[2], "SETNAME"))) {
        resp_error(out, "ERR syntax: HELLO [2 [SETNAME <name>]]; there is no AUTH");
        return;
    }
    if (request->argc == 4) {
        size_t before = out->len;

        set_name(connection, request->argv[3]);
        if (out->data[out->start + before] == '-')
            return;
        out->len = before;
    }
    resp_array(out, 14);
    resp_text(out, "server");
    resp_text(out, "apikeyd");
    resp_text(out, "version");
    resp_text(out, APIKEYD_VERSION);
    resp_text(out, "proto");
    resp_integer(out, 2);
    resp_text(out, "id");
    resp_integer(out, (int64_t)connection->id);
    resp_text(out, "mode");
    resp_text(out, "standalone");
    resp_text(out, "role");
    resp_text(out, "master");
    resp_text(out, "modules");
    resp_array(out, 0);
}

static void client_list(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    if (request->argc == 2)
        admin_client_list(front, connection);
    else
        resp_error(connection_reply(connection), "ERR syntax: CLIENT LIST");
}

static void client_kill(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    if (request->argc == 3)
        admin_client_kill(front, connection, request->argv[2]);
    else if (request->argc == 4 && slice_is(request->argv[2], "ID"))
        admin_client_kill(front, connection, request->argv[3]);
    else
        resp_error(connection_reply(connection), "ERR syntax: CLIENT KILL [ID] <id>");
}

static void client(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    const char *name = client_name(connection);
    struct slice what = request->argv[1];
    struct buffer *out = connection_reply(connection);

    if (slice_is(what, "SETNAME") && request->argc == 3)
        set_name(connection, request->argv[2]);
    else if (slice_is(what, "SETINFO") && request->argc == 4)
        resp_simple(out, "OK");
    else if (slice_is(what, "GETNAME") && name[0])
        resp_text(out, name);
    else if (slice_is(what, "GETNAME"))
        resp_null(out);
    else if (slice_is(what, "ID"))
        resp_integer(out, (int64_t)connection->id);
    else if (connection->protocol->admin && slice_is(what, "LIST"))
        client_list(front, connection, request);
    else if (connection->protocol->admin && slice_is(what, "KILL"))
        client_kill(front, connection, request);
    else
        resp_error(out,
                   "ERR unknown or malformed CLIENT subcommand; here are SETNAME, SETINFO, "
                   "GETNAME, ID%s",
                   connection->protocol->admin ? ", LIST and KILL" : "");
}

static void command_command(struct front *front, struct connection *connection,
                            const struct resp_request *request);

#ifdef APIKEYD_DEBUG_COMMANDS
/* Make the front thread hang, to show what detects it. */
static void debug(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    char seconds[8] = "";

    (void)front;
    if (slice_is(request->argv[1], "HANG") && request->argv[2].len < sizeof seconds) {
        memcpy(seconds, request->argv[2].at, request->argv[2].len);
        sleep((unsigned)strtoul(seconds, NULL, 10));
    }
    resp_simple(connection_reply(connection), "OK");
}
#endif

/* CHECK comes first, because the search is linear. */
static const struct command table[] = {
    {"CHECK", 2, 4, false, run_check, "CHECK <key id> [WITHIN <ms>]: may this key pass?"},
    {"PING", 1, 2, false, ping, "PING [message]"},
    {"ECHO", 2, 2, false, ping, "ECHO <message>"},
    {"QUIT", 1, 1, false, quit, "QUIT: close the connection"},
    {"RESET", 1, 1, false, reset, "RESET: forget the connection's name"},
    {"SELECT", 2, 2, false, select_db, "SELECT 0"},
    {"HELLO", 1, 7, false, hello, "HELLO [2 [SETNAME <name>]]"},
    {"CLIENT", 2, 8, false, client, "CLIENT SETNAME|SETINFO|GETNAME|ID|LIST|KILL"},
    {"COMMAND", 1, RESP_ARGS_MAX, false, command_command, "COMMAND [COUNT|DOCS|INFO]"},
    {"INFO", 1, 2, false, admin_info, "INFO [section]: counters and state"},
    {"EXPLAIN", 2, 2, true, admin_explain, "EXPLAIN <key id>: why CHECK answers as it does"},
    {"INVALIDATE", 2, 2, true, admin_invalidate, "INVALIDATE <key id>|ALL: forget verdicts"},
    {"FLUSH", 1, 1, true, admin_flush, "FLUSH: write pending usage now; replies with rows written"},
    {"CONFIG", 3, 3, true, admin_config, "CONFIG GET <glob>"},
    {"RELOAD", 1, 1, true, admin_reload, "RELOAD: read the configuration again"},
    {"METRICS", 1, 1, true, admin_metrics, "METRICS: the metrics in Prometheus' text format"},
    {"STATUS", 1, 1, true, admin_status, "STATUS: state, rates and latencies as JSON"},
#ifdef APIKEYD_DEBUG_COMMANDS
    {"DEBUG", 3, 3, true, debug, "DEBUG HANG <seconds>: in test builds only"},
#endif
};

enum { COMMANDS = sizeof table / sizeof table[0] };

static void describe(struct buffer *out, const struct command *command)
{
    resp_array(out, 6);
    resp_text(out, command->name);
    resp_integer(out,
                 command->min == command->max ? (int64_t)command->min : -(int64_t)command->min);
    resp_array(out, 1);
    resp_simple(out, command->admin ? "admin" : "fast");
    resp_integer(out, 0);
    resp_integer(out, 0);
    resp_integer(out, 0);
}

/* COMMAND DOCS as redis-cli reads it for its hints: name, then a map with a summary. */
static void document(struct buffer *out, const struct command *command)
{
    resp_text(out, command->name);
    resp_array(out, 2);
    resp_text(out, "summary");
    resp_text(out, command->summary);
}

static void command_command(struct front *front, struct connection *connection,
                            const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);
    bool docs = request->argc > 1 && slice_is(request->argv[1], "DOCS");
    size_t shown = 0;

    (void)front;
    for (size_t i = 0; i < COMMANDS; i++)
        shown += !table[i].admin || connection->protocol->admin;
    if (request->argc > 1 && slice_is(request->argv[1], "COUNT")) {
        resp_integer(out, (int64_t)shown);
        return;
    }
    resp_array(out, docs ? 2 * shown : shown);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (table[i].admin && !connection->protocol->admin)
            continue;
        if (docs)
            document(out, &table[i]);
        else
            describe(out, &table[i]);
    }
}

static void run_command(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    struct slice name = request->argv[0];

    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *command = &table[i];

        if (!slice_is(name, command->name) || (command->admin && !connection->protocol->admin))
            continue;
        connection->last_command = command->name;
        if (request->argc < command->min || request->argc > command->max)
            resp_error(connection_reply(connection),
                       "ERR wrong number of arguments for '%s' command; use %s", command->name,
                       command->summary);
        else
            command->run(front, connection, request);
        return;
    }
    /* The error does not repeat the name: a client that forgets the name sends its key ID in this
     * place. */
    front->metrics.value[METRIC_COMMANDS_UNKNOWN]++;
    resp_error(connection_reply(connection), "ERR unknown command; see COMMAND DOCS");
}

static size_t handle_resp(void *arg, struct connection *connection, struct slice bytes)
{
    struct front *front = arg;
    const struct ahead *ahead = lookahead_take(&front->lookahead, bytes, front->hasher,
                                               &front->freshness, front->cache, front->usage);
    struct resp_request request;
    const char *why;
    size_t consumed = 0;

    if (ahead)
        return run_check_ahead(front, connection, ahead);
    switch (
        resp_request_parse(bytes, front->config->listen_max_request, &request, &consumed, &why)) {
    case RESP_INCOMPLETE:
        return 0;
    case RESP_BROKEN:
        front->metrics.value[METRIC_PROTOCOL_ERRORS]++;
        resp_error(connection_reply(connection), "ERR Protocol error: %s", why);
        connection_finish(connection);
        return bytes.len;
    case RESP_COMPLETE:
        if (request.argc > 0) {
            connection->requests++;
            run_command(front, connection, &request);
        }
        break;
    }
    return consumed;
}

#define RESP_PROTOCOL                                                                              \
    .handle = handle_resp,                                                                         \
    .forbidden = "-NOPERM listen.allow_uids and allow_gids do not name you\r\n",                   \
    .full = "-ERR max number of clients reached\r\n", .small_request = 1024,                       \
    .state_size = sizeof(struct resp_client), .client_name = client_name

const struct protocol check_protocol = {.name = "check", RESP_PROTOCOL};
const struct protocol admin_protocol = {.name = "admin", .admin = true, RESP_PROTOCOL};

void commands_print_markdown(FILE *out)
{
    fprintf(out, "| request | sockets |\n| --- | --- |\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *colon = strstr(table[i].summary, ": ");
        int form = (int)(colon ? colon - table[i].summary : (long)strlen(table[i].summary));
        /* A bar would end the cell; GitHub takes \\| in code. */
        fprintf(out, "| `");
        for (int k = 0; k < form; k++)
            fprintf(out, table[i].summary[k] == '|' ? "\\|" : "%c", table[i].summary[k]);
        fprintf(out, "`%s | %s |\n", colon ? colon : "", table[i].admin ? "admin" : "both");
    }
}
