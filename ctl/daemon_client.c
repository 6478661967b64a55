/* SPDX-License-Identifier: MIT */
#include "daemon_client.h"
#include "die.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <apikeyd/config/config_load.h>

static const char default_config[] = "/etc/apikeyd/apikeyd.conf";

/* NULL: there is none, or this user may not read it. */
static const char *config_path(const struct request *request)
{
    if (!request->config && access(default_config, R_OK) != 0)
        return NULL;
    return request->config ? request->config : default_config;
}

struct config *daemon_config(const struct request *request)
{
    struct buffer errors = {0};
    struct config *config = config_load(config_path(request), &errors);

    if (!config)
        die(EX_CONFIG, "the configuration cannot be used:\n%.*s", (int)errors.len, errors.data);
    buffer_free(&errors);
    return config;
}

/* The daemon may be well though its configuration file has errors: it has read an earlier one. */
static struct config *config_with_socket(const struct request *request)
{
    struct buffer errors = {0};
    struct config *config = config_load_sound(config_path(request), &errors);

    if (!config)
        die(EX_CONFIG, "the configuration cannot be used:\n%.*s", (int)errors.len, errors.data);
    if (errors.len > 0)
        fprintf(stderr,
                "apikeyctl: warning: the configuration has errors (see apikeyd --check-config); "
                "asking the daemon at %s\n",
                config->listen_admin);
    buffer_free(&errors);
    return config;
}

static char *socket_path(const struct request *request)
{
    const char *given = request->socket ? request->socket : getenv("APIKEYCTL_SOCKET");
    char *path;

    if (given) {
        path = strdup(given);
    } else {
        struct config *config = config_with_socket(request);

        if (!config->listen_admin[0])
            die(EX_CONFIG, "listen.admin is empty: the daemon has no admin socket; name one there");
        path = strdup(config->listen_admin);
        config_free(config);
    }
    if (!path)
        die(EX_OSERR, "out of memory");
    return path;
}

static void explain_failure(const char *path, int error, const char *text)
{
    switch (error) {
    case ENOENT:
        die(EX_UNAVAILABLE,
            "%s: there is no such socket. Is apikeyd running (systemctl status apikeyd)? Another "
            "path is given by --socket, or listen.admin in its configuration",
            path);
    case ECONNREFUSED:
        die(EX_UNAVAILABLE,
            "%s: no process listens: apikeyd is not running (systemctl status apikeyd)", path);
    case EACCES:
    case EPERM:
        die(EX_NOPERM,
            "%s: permission denied: the admin socket is its owner's and root's only; try sudo",
            path);
    default:
        die(EX_UNAVAILABLE, "%s: %s", path, text);
    }
}

redisContext *daemon_connect(const struct request *request)
{
    const struct timeval timeout = {.tv_sec = 10};
    char *path = socket_path(request);
    redisContext *context;

    errno = 0;
    context = redisConnectUnixWithTimeout(path, timeout);
    if (!context)
        die(EX_OSERR, "out of memory");
    if (context->err)
        explain_failure(path, errno, context->errstr);
    redisSetTimeout(context, timeout);
    free(path);
    return context;
}

redisReply *daemon_try(redisContext *context, int argc, const char **argv)
{
    redisReply *reply = redisCommandArgv(context, argc, argv, NULL);

    if (!reply && context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        die(EX_UNAVAILABLE, "the daemon did not answer within 10 s");
    if (!reply && context->err == REDIS_ERR_EOF)
        die(EX_UNAVAILABLE, "the daemon closed the connection: it is stopping, or "
                            "listen.allow_uids does not let this user in");
    if (!reply)
        die(EX_UNAVAILABLE, "the daemon does not answer: %s", context->errstr);
    return reply;
}

void daemon_expect(const redisReply *reply, const char *command)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return;
    if (strstr(reply->str, "unknown command"))
        die(STATUS_FAILED,
            "the daemon does not know %s here: is this its admin socket, not the "
            "check socket?",
            command);
    die(STATUS_FAILED, "the daemon says: %s", reply->str);
}

redisReply *daemon_ask(redisContext *context, int argc, const char **argv)
{
    redisReply *reply = daemon_try(context, argc, argv);

    daemon_expect(reply, argv[0]);
    return reply;
}

json_t *daemon_status(redisContext *context)
{
    redisReply *reply = daemon_ask(context, 1, (const char *[]){"STATUS"});
    json_t *status = reply->type == REDIS_REPLY_STRING
                         ? json_loadb(reply->str, (size_t)reply->len, 0, NULL)
                         : NULL;

    freeReplyObject(reply);
    if (!status)
        die(EX_PROTOCOL, "STATUS: the daemon's reply is not understood; are both of one version?");
    return status;
}

/* "id=1 name= age=3" as an object; numbers as such. */
static json_t *client_of(char *line)
{
    json_t *client = json_object();
    char *rest = NULL;

    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        char *end;

        if (!value)
            continue;
        *value++ = '\0';
        long long number = strtoll(value, &end, 10);
        json_object_set_new(client, word,
                            *value && !*end ? json_integer(number) : json_string(value));
    }
    return client;
}

json_t *daemon_clients(redisContext *context)
{
    redisReply *reply = daemon_ask(context, 2, (const char *[]){"CLIENT", "LIST"});
    json_t *clients = json_array();
    char *rest = NULL;

    for (char *line = strtok_r(reply->str, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        json_array_append_new(clients, client_of(line));
    freeReplyObject(reply);
    return clients;
}
