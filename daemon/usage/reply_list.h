/* reply_list: FLUSH requests that wait for the same round. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REPLY_LIST_H
#define APIKEYD_REPLY_LIST_H

#include <apikeyd/thread/back_env.h>

struct reply_list {
    uint64_t *ask;
    size_t len;
};

void reply_list_add(struct reply_list *list, uint64_t ask);

/* Send each request the number, or the failure if it is not NULL, and empty the list. */
void reply_list_answer(struct reply_list *list, struct back_env *env, const char *failure,
                       uint64_t number);

#endif
