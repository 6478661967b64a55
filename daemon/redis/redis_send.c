/* SPDX-License-Identifier: MIT */
#include "redis_send.h"

#include <apikeyd/base/buffer.h>
#include <apikeyd/wire/resp_reply.h>

void redis_send(struct redis_session *session, const struct slice *words, size_t len,
                void (*done)(void *arg, const struct redis_reply *reply), void *arg)
{
    struct buffer request = {0};

    resp_array(&request, len);
    for (size_t i = 0; i < len; i++)
        resp_bulk(&request, words[i]);
    (void)!redis_session_send(session, buffer_held(&request), done, arg);
    buffer_free(&request);
}

void redis_send_login(struct redis_session *session, struct slice user, struct slice password,
                      void (*done)(void *arg, const struct redis_reply *reply), void *arg)
{
    if (password.len == 0)
        return;
    if (user.len > 0)
        redis_send(session, (struct slice[]){redis_word("AUTH"), user, password}, 3, done, arg);
    else
        redis_send(session, (struct slice[]){redis_word("AUTH"), password}, 2, done, arg);
}
