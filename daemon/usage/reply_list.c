/* SPDX-License-Identifier: MIT */
#include "reply_list.h"

#include <stdlib.h>

#include <apikeyd/base/out_of_memory.h>
#include <apikeyd/wire/resp_reply.h>

void reply_list_add(struct reply_list *list, uint64_t ask)
{
    uint64_t *grown = realloc(list->ask, (list->len + 1) * sizeof *grown);

    if (!grown)
        out_of_memory();
    list->ask = grown;
    list->ask[list->len++] = ask;
}

void reply_list_answer(struct reply_list *list, struct back_env *env, const char *failure,
                       uint64_t number)
{
    for (size_t i = 0; i < list->len; i++) {
        struct buffer reply = {0};

        if (failure)
            resp_error(&reply, "UNAVAILABLE %s", failure);
        else
            resp_integer(&reply, (int64_t)number);
        back_env_reply(env, list->ask[i], &reply);
    }
    free(list->ask);
    *list = (struct reply_list){0};
}
