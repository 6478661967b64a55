/* SPDX-License-Identifier: MIT */
#include "daemon_commands.h"

#include <stdlib.h>
#include <string.h>

#include "daemon_client.h"
#include "die.h"
#include "key_input.h"
#include "output.h"

/* ALLOW: JSON has the attributes in an object of their own. */
static void show_allow(const struct request *request, const redisReply *reply)
{
    json_t *object = json_pack("{s:s,s:s,s:s}", "verdict", reply->element[0]->str, "api_key_id",
                               reply->element[1]->str, "user_id", reply->element[2]->str);
    const redisReply *map = reply->elements == 4 ? reply->element[3] : NULL;
    json_t *attributes = json_object();

    for (size_t i = 0; map && i + 1 < map->elements; i += 2) {
        const redisReply *value = map->element[i + 1];
        char name[128];

        snprintf(name, sizeof name, "%s%s", request->json ? "" : "attribute ",
                 map->element[i]->str);
        json_object_set_new(request->json ? attributes : object, name,
                            json_stringn(value->str, value->len));
    }
    if (map && request->json)
        json_object_set(object, "attributes", attributes);
    json_decref(attributes);
    output_object(request->json, object);
}

/* How the answer is shown, and the exit status. */
static int show_check(const struct request *request, const redisReply *reply)
{
    static const struct {
        const char *why;
        int status;
    } denial[] = {{"unknown", STATUS_UNKNOWN},
                  {"inactive", STATUS_INACTIVE},
                  {"expired", STATUS_EXPIRED},
                  {"early", STATUS_EARLY}};
    const char *verdict, *second;

    if (reply->type == REDIS_REPLY_ERROR) {
        bool unavailable = strncmp(reply->str, "UNAVAILABLE", strlen("UNAVAILABLE")) == 0;

        if (!unavailable)
            die(EX_DATAERR, "the daemon says: %s", reply->str);
        output_object(request->json, json_pack("{s:s,s:s}", "verdict", "UNAVAILABLE", "why",
                                               reply->str + strcspn(reply->str, " ")));
        return STATUS_UNAVAILABLE;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2)
        die(EX_PROTOCOL, "CHECK: the daemon's reply is not understood");
    verdict = reply->element[0]->str;
    second = reply->element[1]->str;
    if (strcmp(verdict, "ALLOW") == 0 && reply->elements >= 3) {
        show_allow(request, reply);
        return EXIT_SUCCESS;
    }
    output_object(request->json, json_pack("{s:s,s:s}", "verdict", verdict, "why", second));
    for (size_t i = 0; i < sizeof denial / sizeof denial[0]; i++) {
        if (strcmp(second, denial[i].why) == 0)
            return denial[i].status;
    }
    return STATUS_FAILED;
}

int run_check(const struct request *request)
{
    char key[KEY_INPUT_SIZE];
    const char *argv[5] = {"CHECK", key};
    int argc = 2;
    redisContext *context = daemon_connect(request);

    key_input(request->argv[0], key);
    if (request->within) {
        argv[argc++] = "WITHIN";
        argv[argc++] = request->within;
    }
    if (request->attributes)
        argv[argc++] = "ATTRIBUTES";
    redisReply *reply = daemon_try(context, argc, argv);
    int status = show_check(request, reply);
    freeReplyObject(reply);
    redisFree(context);
    return status;
}

/* A reply of names and values, one after the other. */
static json_t *object_of(const redisReply *reply)
{
    json_t *object = json_object();

    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        json_object_set_new(
            object, reply->element[i]->str,
            json_stringn(reply->element[i + 1]->str, (size_t)reply->element[i + 1]->len));
    return object;
}

int run_explain(const struct request *request)
{
    char key[KEY_INPUT_SIZE];
    redisContext *context = daemon_connect(request);

    key_input(request->argv[0], key);
    redisReply *reply = daemon_ask(context, 2, (const char *[]){"EXPLAIN", key});
    output_object(request->json, object_of(reply));
    freeReplyObject(reply);
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_invalidate(const struct request *request)
{
    char key[KEY_INPUT_SIZE] = "ALL";
    redisContext *context;

    if (request->all && request->argc > 0)
        die(EX_USAGE, "invalidate: a key or --all, not both");
    context = daemon_connect(request);
    if (!request->all)
        key_input(request->argv[0], key);
    /* A key may also be called "ALL"; that key cannot be invalidated alone. */
    freeReplyObject(daemon_ask(context, 2, (const char *[]){"INVALIDATE", key}));
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_flush(const struct request *request)
{
    redisContext *context = daemon_connect(request);
    redisReply *reply = daemon_ask(context, 1, (const char *[]){"FLUSH"});

    if (request->json)
        output_object(true, json_pack("{s:I}", "rows", (json_int_t)reply->integer));
    else
        printf("%lld row%s written\n", reply->integer, reply->integer == 1 ? "" : "s");
    freeReplyObject(reply);
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_config(const struct request *request)
{
    const char *glob = request->argc > 0 ? request->argv[0] : "*";
    redisContext *context = daemon_connect(request);
    redisReply *reply = daemon_ask(context, 3, (const char *[]){"CONFIG", "GET", glob});

    if (reply->elements == 0)
        die(STATUS_FAILED, "no option is called %s", glob);
    output_object(request->json, object_of(reply));
    freeReplyObject(reply);
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_reload(const struct request *request)
{
    static const char refusal[] = "ERR nothing changed: ";
    redisContext *context = daemon_connect(request);
    redisReply *reply = daemon_try(context, 1, (const char *[]){"RELOAD"});

    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, refusal, strlen(refusal)) == 0)
        die(EX_CONFIG, "nothing changed: %s", reply->str + strlen(refusal));
    daemon_expect(reply, "RELOAD");
    output_text(reply->str);
    putchar('\n');
    freeReplyObject(reply);
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_clients(const struct request *request)
{
    static const struct column columns[] = {
        {"id", "ID"},    {"socket", "SOCKET"}, {"name", "NAME"},         {"pid", "PID"},
        {"uid", "UID"},  {"age", "SECONDS"},   {"requests", "REQUESTS"}, {"pending", "PENDING"},
        {"cmd", "LAST"},
    };
    redisContext *context = daemon_connect(request);

    output_rows(request->json, daemon_clients(context), columns,
                sizeof columns / sizeof columns[0]);
    redisFree(context);
    return EXIT_SUCCESS;
}

int run_health(const struct request *request)
{
    redisContext *context = daemon_connect(request);
    json_t *status = daemon_status(context);
    bool ready = json_is_true(json_object_get(status, "ready"));
    const char *why = json_string_value(json_object_get(status, "readiness"));

    if (request->json)
        output_object(true, json_pack("{s:b,s:s}", "ready", ready, "readiness", why));
    else
        printf("%s: %s\n", ready ? "ready" : "not ready", why);
    json_decref(status);
    redisFree(context);
    return ready ? EXIT_SUCCESS : STATUS_FAILED;
}
