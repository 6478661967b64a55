/* Asks CHECK for each key with the synchronous hiredis client, and prints the answers. */
/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include <hiredis/hiredis.h>

int main(int argc, char **argv)
{
    redisContext *context = argc > 1 ? redisConnectUnix(argv[1]) : NULL;

    if (!context || context->err)
        return 1;
    for (int i = 2; i < argc; i++)
        redisAppendCommand(context, "CHECK %s", argv[i]);
    for (int i = 2; i < argc; i++) {
        void *raw;

        if (redisGetReply(context, &raw) != REDIS_OK)
            return 1;
        redisReply *reply = raw;
        for (size_t k = 0; k < reply->elements; k++)
            printf("%s%s", k > 0 ? " " : "", reply->element[k]->str);
        printf("\n");
        freeReplyObject(reply);
    }
    redisFree(context);
    return 0;
}
