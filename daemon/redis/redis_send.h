/* redis_send: commands that the daemon sends of its own accord, from words. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_SEND_H
#define APIKEYD_REDIS_SEND_H

#include <string.h>

#include "redis_session.h"

static inline struct slice redis_word(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* Send the command. On a session that has just been opened there is room for it; one that has ended
 * tells that by itself, and `done` is not called. */
void redis_send(struct redis_session *session, const struct slice *words, size_t len,
                void (*done)(void *arg, const struct redis_reply *reply), void *arg);

/* AUTH, if there is a password; `user` may be empty. */
void redis_send_login(struct redis_session *session, struct slice user, struct slice password,
                      void (*done)(void *arg, const struct redis_reply *reply), void *arg);

#endif
