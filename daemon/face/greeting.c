/* SPDX-License-Identifier: MIT */
#include "greeting.h"

#include <apikeyd/auth/front_state.h>
#include <apikeyd/wire/resp_reply.h>

#include "admin.h"
#include "resp_client.h"

const char *greeting_client_name(const struct connection *connection)
{
    return resp_client(connection)->name;
}

/* Returns what is wrong with a client's name, or NULL. Names are shown in CLIENT LIST, a line each,
 * so blanks and line breaks are refused. */
static const char *wrong_name(struct slice name)
{
    if (name.len >= CLIENT_NAME_SIZE)
        return "Client names have at most 63 bytes.";
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] <= ' ' || name.at[i] > '~')
            return "Client names cannot contain spaces, newlines or special characters.";
    }
    return NULL;
}

static void set_name(struct resp_client *client, struct slice name)
{
    memcpy(client->name, name.at, name.len);
    client->name[name.len] = '\0';
}

/* The user of a Redis server without a password; any password passes. */
static bool is_default_user(struct slice user)
{
    return user.len == 7 && memcmp(user.at, "default", 7) == 0;
}

static const char wrong_user[] = "WRONGPASS invalid username-password pair or user is disabled.";

void greeting_auth(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);

    (void)front;
    if (request->argc == 2)
        /* Libraries know this text by heart, and go on. */
        resp_error(out, "ERR AUTH <password> called without any password configured for the "
                        "default user. Are you sure your configuration is correct?");
    else if (is_default_user(request->argv[1]))
        resp_simple(out, "OK");
    else
        resp_error(out, "%s", wrong_user);
}

/* What HELLO asks for. */
struct greeting {
    bool resp3;
    bool named;
    struct slice name;
};

/* The options behind HELLO's version; on false the error is already written. */
static bool parse_hello_options(const struct resp_request *request, struct buffer *out,
                                struct greeting *ret)
{
    const char *wrong = NULL;

    for (size_t i = 2; i < request->argc; i++) {
        struct slice option = request->argv[i];
        size_t more = request->argc - i - 1;

        if (slice_is(option, "AUTH") && more >= 2) {
            wrong = is_default_user(request->argv[i + 1]) ? wrong : wrong_user;
            i += 2;
        } else if (slice_is(option, "SETNAME") && more >= 1) {
            ret->named = true;
            ret->name = request->argv[++i];
            if (wrong_name(ret->name)) {
                resp_error(out, "ERR %s", wrong_name(ret->name));
                return false;
            }
        } else {
            resp_error(out, "ERR Syntax error in HELLO; use HELLO [2|3 [AUTH <user> <password>] "
                            "[SETNAME <name>]]");
            return false;
        }
    }
    if (wrong)
        resp_error(out, "%s", wrong);
    return !wrong;
}

/* As parse_hello_options(), for the whole request. */
static bool parse_hello(const struct resp_request *request, struct buffer *out,
                        struct greeting *ret)
{
    int64_t version;

    if (request->argc < 2)
        return true;
    if (!slice_number(request->argv[1], &version)) {
        resp_error(out, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (version != 2 && version != 3) {
        resp_error(out, "NOPROTO unsupported protocol version");
        return false;
    }
    ret->resp3 = version == 3;
    return parse_hello_options(request, out, ret);
}

void greeting_hello(struct front *front, struct connection *connection,
                    const struct resp_request *request)
{
    struct resp_client *client = resp_client(connection);
    struct buffer *out = connection_reply(connection);
    struct greeting greeting = {.resp3 = client->resp3};

    (void)front;
    if (!parse_hello(request, out, &greeting))
        return;
    client->resp3 = greeting.resp3;
    if (greeting.named)
        set_name(client, greeting.name);
    resp_map(out, 7, client->resp3);
    resp_text(out, "server");
    resp_text(out, "apikeyd");
    resp_text(out, "version");
    resp_text(out, APIKEYD_VERSION);
    resp_text(out, "proto");
    resp_integer(out, client->resp3 ? 3 : 2);
    resp_text(out, "id");
    resp_integer(out, (int64_t)connection->id);
    resp_text(out, "mode");
    resp_text(out, "standalone");
    resp_text(out, "role");
    resp_text(out, "master");
    resp_text(out, "modules");
    resp_array(out, 0);
}

void greeting_select(struct front *front, struct connection *connection,
                     const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);
    int64_t number;

    (void)front;
    if (!slice_number(request->argv[1], &number))
        resp_error(out, "ERR value is not an integer or out of range");
    else if (number != 0)
        resp_error(out, "ERR DB index is out of range");
    else
        resp_simple(out, "OK");
}

void greeting_role(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);

    (void)front;
    (void)request;
    resp_array(out, 3);
    resp_text(out, "master");
    resp_integer(out, 0);
    resp_array(out, 0);
}

void greeting_no_cluster(struct front *front, struct connection *connection,
                         const struct resp_request *request)
{
    (void)front;
    (void)request;
    resp_error(connection_reply(connection), "ERR This instance has cluster support disabled");
}

void greeting_none(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);
    struct slice what = request->argv[1];

    (void)front;
    if (slice_is(what, "USAGE"))
        resp_null(out, resp_client(connection)->resp3);
    else if (slice_is(what, "LIST") || slice_is(what, "LATEST"))
        resp_array(out, 0);
    else
        resp_error(out, "ERR unknown subcommand; see COMMAND DOCS");
}

void greeting_config(struct front *front, struct connection *connection,
                     const struct resp_request *request)
{
    if (connection->protocol->admin)
        admin_config(front, connection, request);
    else if (slice_is(request->argv[1], "GET"))
        resp_map(connection_reply(connection), 0, resp_client(connection)->resp3);
    else
        resp_error(connection_reply(connection), "ERR unknown subcommand; see COMMAND DOCS");
}

/* CLIENT */

typedef void run_subcommand(struct front *front, struct connection *connection,
                            const struct resp_request *request);

static void client_ok(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    (void)front;
    (void)request;
    resp_simple(connection_reply(connection), "OK");
}

static void client_set_name(struct front *front, struct connection *connection,
                            const struct resp_request *request)
{
    const char *wrong = wrong_name(request->argv[2]);

    (void)front;
    if (wrong) {
        resp_error(connection_reply(connection), "ERR %s", wrong);
        return;
    }
    set_name(resp_client(connection), request->argv[2]);
    resp_simple(connection_reply(connection), "OK");
}

static void client_get_name(struct front *front, struct connection *connection,
                            const struct resp_request *request)
{
    const struct resp_client *client = resp_client(connection);

    (void)front;
    (void)request;
    if (client->name[0])
        resp_text(connection_reply(connection), client->name);
    else
        resp_null(connection_reply(connection), client->resp3);
}

static void client_id(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    (void)front;
    (void)request;
    resp_integer(connection_reply(connection), (int64_t)connection->id);
}

static void client_info(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    (void)request;
    admin_client_info(front, connection);
}

static void client_list(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    (void)request;
    admin_client_list(front, connection);
}

/* CLIENT KILL <id>, or CLIENT KILL ID <id> */
static void client_kill(struct front *front, struct connection *connection,
                        const struct resp_request *request)
{
    if (request->argc == 4 && !slice_is(request->argv[2], "ID"))
        resp_error(connection_reply(connection), "ERR syntax: CLIENT KILL [ID] <id>");
    else
        admin_client_kill(front, connection, request->argv[request->argc - 1]);
}

static const struct subcommand {
    const char *name;
    size_t min, max;      /* arguments, CLIENT and the name included */
    const char *words[3]; /* the third argument is one of these; none: anything */
    bool admin;           /* on the admin socket only */
    run_subcommand *run;
} client_table[] = {
    {"SETNAME", 3, 3, {NULL}, false, client_set_name},
    {"GETNAME", 2, 2, {NULL}, false, client_get_name},
    {"SETINFO", 4, 4, {"LIB-NAME", "LIB-VER"}, false, client_ok},
    {"ID", 2, 2, {NULL}, false, client_id},
    {"INFO", 2, 2, {NULL}, false, client_info},
    /* Nothing is evicted, touched or tracked. All requests are replied to. */
    {"NO-EVICT", 3, 3, {"ON", "OFF"}, false, client_ok},
    {"NO-TOUCH", 3, 3, {"ON", "OFF"}, false, client_ok},
    {"TRACKING", 3, 3, {"OFF"}, false, client_ok},
    {"REPLY", 3, 3, {"ON"}, false, client_ok},
    {"LIST", 2, 2, {NULL}, true, client_list},
    {"KILL", 3, 4, {NULL}, true, client_kill},
};

static bool takes(const struct subcommand *row, const struct resp_request *request)
{
    if (request->argc < row->min || request->argc > row->max)
        return false;
    if (!row->words[0])
        return true;
    for (size_t i = 0; row->words[i]; i++) {
        if (slice_is(request->argv[2], row->words[i]))
            return true;
    }
    return false;
}

void greeting_client(struct front *front, struct connection *connection,
                     const struct resp_request *request)
{
    bool admin = connection->protocol->admin;

    for (size_t i = 0; i < sizeof client_table / sizeof client_table[0]; i++) {
        const struct subcommand *row = &client_table[i];

        if (slice_is(request->argv[1], row->name) && (admin || !row->admin) &&
            takes(row, request)) {
            row->run(front, connection, request);
            return;
        }
    }
    resp_error(connection_reply(connection),
               "ERR unknown or malformed CLIENT subcommand; here are SETNAME <name>, GETNAME, "
               "SETINFO LIB-NAME|LIB-VER <text>, ID, INFO, NO-EVICT|NO-TOUCH ON|OFF, TRACKING OFF, "
               "REPLY ON%s",
               admin ? ", LIST, KILL [ID] <id>" : "");
}
