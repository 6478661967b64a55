/* SPDX-License-Identifier: MIT */
#include "apikeyd/back_env.h"

#include <sched.h>

void back_env_post(struct back_env *env, const struct to_front *message)
{
    while (!mailbox_post_reserved(env->to_front, message, sizeof *message) && !env->front_gone) {
        mailbox_wake(env->to_front);
        sched_yield();
    }
}

void back_env_post_grounds(struct back_env *env)
{
    back_env_post(env, &(struct to_front){.type = TO_FRONT_GROUNDS, .grounds = env->grounds});
}

void back_env_reply(struct back_env *env, struct hole *hole, struct buffer *reply)
{
    back_env_post(env, &(struct to_front){.type = TO_FRONT_REPLY, .hole = hole, .reply = *reply});
    *reply = (struct buffer){0};
}
