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
#include "greeting.h"
#include "resp_client.h"
#include "transaction.h"

enum {
    WITHIN_MAX_MS = 9999999,
    /* Bytes of requests between MULTI and EXEC. Other clients wait while they are moved to a larger
     * buffer. */
    TRANSACTION_MAX = 1024 * 1024,
};

enum command_flag {
    ADMIN = 1,   /* on the admin socket only */
    AT_ONCE = 2, /* is run between MULTI and EXEC, too */
};

struct command {
    const char *name;
    size_t min, max; /* arguments, the name included */
    unsigned flags;
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

/* With ATTRIBUTES; the flags say whether the client speaks RESP3. */
static void write_resp_attributes(struct front *front, struct buffer *out,
                                  const struct answer *answer, const struct reply_encoder *encoder)
{
    resp_verdict_attributes(out, answer->verdict, answer->why,
                            &front->config->postgres_attribute_columns,
                            answer->quota && answer->quota->over, encoder->flags);
}

static struct reply_encoder with_attributes(const struct connection *connection)
{
    return (struct reply_encoder){.write = write_resp_attributes,
                                  .flags = resp_client(connection)->resp3,
                                  .attributes = true};
}

/* "WITHIN <ms>" and "ATTRIBUTES", each once at most; false when it is anything else. */
static bool parse_check(const struct resp_request *request, struct check *check)
{
    for (size_t i = 2; i < request->argc; i++) {
        if (slice_is(request->argv[i], "ATTRIBUTES") && !check->encoder.attributes)
            check->encoder = with_attributes(check->connection);
        else if (slice_is(request->argv[i], "WITHIN") && check->within_ms == 0 &&
                 i + 1 < request->argc && slice_number(request->argv[i + 1], &check->within_ms) &&
                 check->within_ms > 0 && check->within_ms <= WITHIN_MAX_MS)
            i++;
        else
            return false;
    }
    return true;
}

static void refuse_key(struct front *front, struct connection *connection, const char *wrong)
{
    front->metrics.value[METRIC_CHECKS_REFUSED]++;
    resp_error(connection_reply(connection), "ERR %s", wrong);
}

static void run_check(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    const char *wrong = "syntax: CHECK <key id> [WITHIN <ms from 1 to 9999999>] [ATTRIBUTES]";
    struct check check = {
        .connection = connection, .key = request->argv[1], .encoder = {.write = write_resp}};

    if (parse_check(request, &check))
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

    if (__builtin_expect(resp_request_asks_attributes(ahead->at), 0))
        check.encoder = with_attributes(connection);
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

/* The transaction may have allocated or freed its buffer. */
static void note_held(struct connection *connection)
{
    connection->state_bytes = resp_client(connection)->transaction.requests.cap;
}

static void end_transaction(struct front *front, struct connection *connection)
{
    transaction_end(&resp_client(connection)->transaction, &front->spare_requests);
    note_held(connection);
}

static void multi(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    struct transaction *transaction = &resp_client(connection)->transaction;

    (void)request;
    if (transaction->stage == TRANSACTION_OPEN) {
        resp_error(connection_reply(connection), "ERR MULTI calls can not be nested");
        return;
    }
    transaction_open(transaction, &front->spare_requests);
    note_held(connection);
    resp_simple(connection_reply(connection), "OK");
}

/* The requests run in later calls of handle_resp(). */
static void exec(struct front *front, struct connection *connection,
                 const struct resp_request *request)
{
    struct transaction *transaction = &resp_client(connection)->transaction;
    struct buffer *out = connection_reply(connection);

    (void)request;
    if (transaction->stage == TRANSACTION_NONE) {
        resp_error(out, "ERR EXEC without MULTI");
    } else if (transaction->failed) {
        resp_error(out, "EXECABORT Transaction discarded because of previous errors.");
        end_transaction(front, connection);
    } else {
        resp_array(out, transaction->count);
        transaction->stage = TRANSACTION_RUNNING;
    }
}

static void discard(struct front *front, struct connection *connection,
                    const struct resp_request *request)
{
    (void)request;
    if (resp_client(connection)->transaction.stage == TRANSACTION_NONE) {
        resp_error(connection_reply(connection), "ERR DISCARD without MULTI");
        return;
    }
    end_transaction(front, connection);
    resp_simple(connection_reply(connection), "OK");
}

/* WATCH and UNWATCH: there are no keys that another client could change before EXEC. */
static void watch(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    (void)front;
    (void)request;
    if (resp_client(connection)->transaction.stage == TRANSACTION_OPEN)
        resp_error(connection_reply(connection), "ERR WATCH inside MULTI is not allowed");
    else
        resp_simple(connection_reply(connection), "OK");
}

/* The connection is as a new one. */
static void reset(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    (void)request;
    end_transaction(front, connection);
    *resp_client(connection) = (struct resp_client){0};
    resp_simple(connection_reply(connection), "RESET");
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
    {"CHECK", 2, 5, 0, run_check, "CHECK <key id> [WITHIN <ms>] [ATTRIBUTES]: may this key pass?"},
    {"PING", 1, 2, 0, ping, "PING [message]"},
    {"ECHO", 2, 2, 0, ping, "ECHO <message>"},
    {"QUIT", 1, 1, AT_ONCE, quit, "QUIT: close the connection"},
    {"RESET", 1, 1, AT_ONCE, reset, "RESET: forget name, version and transaction"},
    {"MULTI", 1, 1, AT_ONCE, multi, "MULTI: keep the requests that follow until EXEC"},
    {"EXEC", 1, 1, AT_ONCE, exec, "EXEC: run the requests since MULTI"},
    {"DISCARD", 1, 1, AT_ONCE, discard, "DISCARD: forget the requests since MULTI"},
    {"WATCH", 2, RESP_ARGS_MAX, AT_ONCE, watch, "WATCH <name> …: no effect"},
    {"UNWATCH", 1, 1, 0, watch, "UNWATCH: no effect"},
    {"HELLO", 1, 7, 0, greeting_hello, "HELLO [2|3 [AUTH <user> <password>] [SETNAME <name>]]"},
    {"AUTH", 2, 3, 0, greeting_auth, "AUTH [<user>] <password>: there is no password"},
    {"SELECT", 2, 2, 0, greeting_select, "SELECT 0"},
    {"CLIENT", 2, RESP_ARGS_MAX, 0, greeting_client,
     "CLIENT SETNAME|GETNAME|SETINFO|ID|INFO|NO-EVICT|NO-TOUCH|TRACKING|REPLY|LIST|KILL"},
    {"COMMAND", 1, RESP_ARGS_MAX, 0, command_command, "COMMAND [COUNT|LIST|DOCS|INFO]"},
    {"ROLE", 1, 1, 0, greeting_role, "ROLE: that of a master without replicas"},
    {"CLUSTER", 2, RESP_ARGS_MAX, 0, greeting_no_cluster, "CLUSTER: an error, there is none"},
    {"READONLY", 1, 1, 0, greeting_no_cluster, "READONLY: as CLUSTER"},
    {"READWRITE", 1, 1, 0, greeting_no_cluster, "READWRITE: as CLUSTER"},
    {"MODULE", 2, 2, 0, greeting_none, "MODULE LIST: none"},
    {"LATENCY", 2, 2, 0, greeting_none, "LATENCY LATEST: nothing"},
    {"MEMORY", 3, 5, 0, greeting_none, "MEMORY USAGE <name>: nothing"},
    {"INFO", 1, 2, 0, admin_info, "INFO [section]: counters and state"},
    {"EXPLAIN", 2, 2, ADMIN, admin_explain, "EXPLAIN <key id>: why CHECK answers as it does"},
    {"REFUSED", 1, 1, ADMIN, admin_refused,
     "REFUSED: inactive and expired keys that clients went on sending to this process"},
    {"INVALIDATE", 2, 2, ADMIN, admin_invalidate, "INVALIDATE <key id>|ALL: forget verdicts"},
    {"FLUSH", 1, 1, ADMIN, admin_flush,
     "FLUSH: write pending usage now; replies with rows written"},
    {"CONFIG", 3, RESP_ARGS_MAX, 0, greeting_config,
     "CONFIG GET <glob>: options; none on the check socket"},
    {"RELOAD", 1, 1, ADMIN, admin_reload, "RELOAD: read the configuration again"},
    {"METRICS", 1, 1, ADMIN, admin_metrics, "METRICS: the metrics in Prometheus' text format"},
    {"STATUS", 1, 1, ADMIN, admin_status, "STATUS: state, rates and latencies as JSON"},
#ifdef APIKEYD_DEBUG_COMMANDS
    {"DEBUG", 3, 3, ADMIN, debug, "DEBUG HANG <seconds>: in test builds only"},
#endif
};

enum { COMMANDS = sizeof table / sizeof table[0] };

/* Returns the command of that name on the connection's socket, or NULL. */
static const struct command *find(const struct connection *connection, struct slice name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (slice_is(name, table[i].name) &&
            (!(table[i].flags & ADMIN) || connection->protocol->admin))
            return &table[i];
    }
    return NULL;
}

/* COMMAND */

static void list_name(struct buffer *out, const struct command *command, bool resp3)
{
    (void)resp3;
    resp_text(out, command->name);
}

/* As Redis 7 describes a command; for one without keys, tips and subcommands. */
static void describe(struct buffer *out, const struct command *command, bool resp3)
{
    resp_array(out, 10);
    resp_text(out, command->name);
    resp_integer(out,
                 command->min == command->max ? (int64_t)command->min : -(int64_t)command->min);
    resp_set(out, 1, resp3);
    resp_simple(out, command->flags & ADMIN ? "admin" : "fast");
    resp_integer(out, 0);
    resp_integer(out, 0);
    resp_integer(out, 0);
    for (int none = 0; none < 4; none++) /* ACL categories, tips, keys, subcommands */
        resp_set(out, 0, resp3);
}

/* COMMAND DOCS as redis-cli reads it for its hints: name, then a map with a summary. */
static void document(struct buffer *out, const struct command *command, bool resp3)
{
    resp_text(out, command->name);
    resp_map(out, 1, resp3);
    resp_text(out, "summary");
    resp_text(out, command->summary);
}

typedef void print_command(struct buffer *out, const struct command *command, bool resp3);

/* Print all commands of the connection's socket. */
static size_t print_all(const struct connection *connection, struct buffer *out,
                        print_command *print)
{
    size_t count = 0;

    for (size_t i = 0; i < COMMANDS; i++) {
        if ((table[i].flags & ADMIN) && !connection->protocol->admin)
            continue;
        print(out, &table[i], resp_client(connection)->resp3);
        count++;
    }
    return count;
}

/* Print those that the request names; `null`: a null in the place of one that does not exist. */
static size_t print_named(const struct connection *connection, struct buffer *out,
                          print_command *print, const struct resp_request *request, bool null)
{
    bool resp3 = resp_client(connection)->resp3;
    size_t count = 0;

    for (size_t i = 2; i < request->argc; i++) {
        const struct command *command = find(connection, request->argv[i]);

        if (command)
            print(out, command, resp3);
        else if (null)
            resp_null(out, resp3);
        count += command || null;
    }
    return count;
}

static void command_command(struct front *front, struct connection *connection,
                            const struct resp_request *request)
{
    struct slice what = request->argc > 1 ? request->argv[1] : (struct slice){"INFO", 4};
    struct buffer *out = connection_reply(connection);
    bool docs = slice_is(what, "DOCS"), list = slice_is(what, "LIST");
    bool info = slice_is(what, "INFO"), number = slice_is(what, "COUNT");
    struct buffer text = {0};
    size_t count;

    (void)front;
    if (!docs && !info && !((list || number) && request->argc == 2)) {
        resp_error(out, "ERR unknown or malformed COMMAND subcommand; here are COUNT, LIST, DOCS "
                        "[name …] and INFO [name …]");
        return;
    }
    print_command *print = docs ? document : list ? list_name : describe;
    if (request->argc > 2)
        count = print_named(connection, &text, print, request, !docs);
    else
        count = print_all(connection, &text, print);
    if (number)
        resp_integer(out, (int64_t)count);
    else if (docs)
        resp_map(out, count, resp_client(connection)->resp3);
    else
        resp_array(out, count);
    if (!number)
        buffer_append(out, buffer_held(&text).at, text.len);
    buffer_free(&text);
}

/* Requests */

/* Returns the command, or NULL: then the error is already written. */
static const struct command *admit(struct front *front, struct connection *connection,
                                   const struct resp_request *request)
{
    const struct command *command = find(connection, request->argv[0]);

    if (!command) {
        /* The error does not repeat the name: a client that forgets the name sends its key ID in
         * this place. */
        front->metrics.value[METRIC_COMMANDS_UNKNOWN]++;
        resp_error(connection_reply(connection), "ERR unknown command; see COMMAND DOCS");
        return NULL;
    }
    connection->last_command = command->name;
    if (request->argc < command->min || request->argc > command->max) {
        resp_error(connection_reply(connection),
                   "ERR wrong number of arguments for '%s' command; use %s", command->name,
                   command->summary);
        return NULL;
    }
    return command;
}

/* Between MULTI and EXEC. */
static void keep(struct connection *connection, struct slice request)
{
    struct transaction *transaction = &resp_client(connection)->transaction;
    size_t max = connection_bytes_max(connection);

    if (max > TRANSACTION_MAX)
        max = TRANSACTION_MAX;
    if (transaction_keep(transaction, request, max))
        resp_simple(connection_reply(connection), "QUEUED");
    else
        resp_error(connection_reply(connection),
                   "ERR the requests of this transaction exceed %zu bytes; send fewer between "
                   "MULTI and EXEC, or no MULTI",
                   max);
    note_held(connection);
}

/* `bytes`: those of the request. */
static void obey(struct front *front, struct connection *connection,
                 const struct resp_request *request, struct slice bytes)
{
    struct transaction *transaction = &resp_client(connection)->transaction;
    const struct command *command = admit(front, connection, request);

    if (command && transaction->stage == TRANSACTION_OPEN && !(command->flags & AT_ONCE)) {
        keep(connection, bytes);
        return; /* counted when it is run */
    }
    connection->requests++;
    if (command)
        command->run(front, connection, request);
    else
        transaction_fail(transaction);
}

static size_t handle_request(struct front *front, struct connection *connection, struct slice bytes,
                             size_t max_request)
{
    struct resp_request request;
    const char *why;
    size_t consumed = 0;

    switch (resp_request_parse(bytes, max_request, &request, &consumed, &why)) {
    case RESP_INCOMPLETE:
        return 0;
    case RESP_BROKEN:
        front->metrics.value[METRIC_PROTOCOL_ERRORS]++;
        resp_error(connection_reply(connection), "ERR Protocol error: %s", why);
        connection_finish(connection);
        return bytes.len;
    case RESP_COMPLETE:
        if (request.argc > 0)
            obey(front, connection, &request, (struct slice){bytes.at, consumed});
        break;
    }
    return consumed;
}

/* The CHECK at the start of `bytes`, if the lookahead finds one there; 0 otherwise. */
static size_t handle_check(struct front *front, struct connection *connection, struct slice bytes)
{
    const struct ahead *ahead = lookahead_take(&front->lookahead, bytes, front->hasher,
                                               &front->freshness, front->cache, front->usage);

    return ahead ? run_check_ahead(front, connection, ahead) : 0;
}

/* EXEC has just run, or a request of its transaction has; `taken` is the length of either. EXEC
 * stays the first request in the connection's bytes until no other is left. */
static size_t go_on(struct front *front, struct connection *connection, bool of_transaction,
                    size_t taken)
{
    struct transaction *transaction = &resp_client(connection)->transaction;

    if (of_transaction)
        transaction->taken += taken;
    else
        transaction->exec_len = taken;
    if (transaction_rest(transaction).len > 0)
        return REQUEST_GOES_ON;
    size_t exec_len = transaction->exec_len;
    end_transaction(front, connection);
    return exec_len;
}

static size_t handle_resp(void *arg, struct connection *connection, struct slice bytes)
{
    struct front *front = arg;
    struct transaction *transaction = &resp_client(connection)->transaction;
    bool running = transaction->stage == TRANSACTION_RUNNING;
    size_t max_request = front->config->listen_max_request;
    size_t consumed = 0;

    if (running) {
        bytes = transaction_rest(transaction);
        max_request = bytes.len; /* they were short enough when they came */
    }
    if (transaction->stage != TRANSACTION_OPEN)
        consumed = handle_check(front, connection, bytes);
    if (consumed == 0)
        consumed = handle_request(front, connection, bytes, max_request);
    if (transaction->stage != TRANSACTION_RUNNING)
        return consumed;
    return go_on(front, connection, running, consumed);
}

static void close_client(struct connection *connection)
{
    transaction_end(&resp_client(connection)->transaction, NULL);
}

#define RESP_PROTOCOL                                                                              \
    .handle = handle_resp, .close = close_client,                                                  \
    .forbidden = "-NOPERM listen.allow_uids and allow_gids do not name you\r\n",                   \
    .full = "-ERR max number of clients reached\r\n", .small_request = 1024,                       \
    .state_size = sizeof(struct resp_client), .client_name = greeting_client_name

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
        fprintf(out, "`%s | %s |\n", colon ? colon : "", table[i].flags & ADMIN ? "admin" : "both");
    }
}
