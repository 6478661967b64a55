/* Asks CHECK with the synchronous hiredis client: see test_clients.py. */
/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

static const char *key[2];

static redisReply *next(redisContext *context)
{
    void *reply;

    if (redisGetReply(context, &reply) != REDIS_OK) {
        printf("%s\n", context->errstr);
        exit(1);
    }
    return reply;
}

static void print(const redisReply *reply)
{
    for (size_t i = 0; i < reply->elements; i++)
        printf(" %s", reply->element[i]->str);
}

static void ask(redisContext *context, const char *step, bool at_once)
{
    printf("%s", step);
    for (int i = 0; i < 2; i++) {
        redisAppendCommand(context, "CHECK %s", key[i]);
        if (!at_once) {
            redisReply *reply = next(context);
            print(reply);
            freeReplyObject(reply);
        }
    }
    for (int i = 0; i < 2 && at_once; i++) {
        redisReply *reply = next(context);
        print(reply);
        freeReplyObject(reply);
    }
    printf("\n");
}

static void ask_in_transaction(redisContext *context)
{
    redisReply *reply;

    redisAppendCommand(context, "MULTI");
    redisAppendCommand(context, "CHECK %s", key[0]);
    redisAppendCommand(context, "CHECK %s", key[1]);
    redisAppendCommand(context, "EXEC");
    for (int i = 0; i < 3; i++)
        freeReplyObject(next(context));
    reply = next(context);
    printf("transaction");
    for (size_t i = 0; i < reply->elements; i++)
        print(reply->element[i]);
    printf("\n");
    freeReplyObject(reply);
}

int main(int argc, char **argv)
{
    redisContext *context = argc == 4 ? redisConnectUnix(argv[1]) : NULL;

    if (!context || context->err)
        return 1;
    key[0] = argv[2];
    key[1] = argv[3];
    printf("version %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    ask(context, "defaults", false);
    ask(context, "pipeline", true);
    ask_in_transaction(context);
    printf("ready\n");
    fflush(stdout);
    (void)getchar();
    if (redisReconnect(context) != REDIS_OK)
        return 1;
    ask(context, "again", false);
    redisFree(context);
    return 0;
}
