/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/back_env.h>

#include <sched.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/clock/clock_jump.h>

static struct event_base *precise_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    /* Time-outs of a few milliseconds matter here; the default clock is coarser than that. */
    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}

bool back_env_open(struct back_env *env)
{
    struct freshness_policy policy = config_freshness_policy(env->config);

    TAILQ_INIT(&env->sessions);
    freshness_init(&env->freshness, &policy);
    env->base = precise_base();
    return env->base && freshness_watch_keys(&env->freshness);
}

void back_env_close(struct back_env *env)
{
    if (env->base)
        event_base_free(env->base);
    freshness_done(&env->freshness);
}

bool back_env_post(struct back_env *env, const struct to_front *message)
{
    while (!mailbox_post_reserved(env->to_front, message, sizeof *message)) {
        if (env->front_gone)
            return false;
        mailbox_wake(env->to_front);
        sched_yield();
    }
    return true;
}

void back_env_post_freshness(struct back_env *env)
{
    back_env_post(env, &(struct to_front){.type = TO_FRONT_FRESHNESS,
                                          .freshness_inputs = env->freshness.inputs});
}

/* Once a minute: a clock that is set again and again must not fill the log. */
static void log_jump(struct back_env *env, int64_t at_us, int64_t jump_us)
{
    if (env->jump_logged_us != 0 && at_us - env->jump_logged_us < 60000000)
        return;
    env->jump_logged_us = at_us;
    log_warning(
        &env->log,
        "clock: this host's clocks parted by %lld ms: the machine was paused, or a clock was "
        "set; verdicts from before are read again (logged at most once a minute)",
        (long long)(jump_us / 1000));
}

void back_env_clock_jump(struct back_env *env, int64_t at_us, int64_t jump_us)
{
    env->metrics.value[METRIC_CLOCK_JUMPS]++;
    log_jump(env, at_us, jump_us);
    freshness_clocks_jumped(&env->freshness, at_us, jump_us);
    back_env_post_freshness(env);
}

void back_env_sample_clock(struct back_env *env, int64_t sent_us, int64_t received_us,
                           int64_t server_us)
{
    int64_t ahead_us = pg_clock_sample(&env->clock, sent_us, received_us, server_us);

    if (ahead_us > CLOCK_JUMP_TOLERANCE_US)
        back_env_clock_jump(env, received_us, ahead_us);
    if (config_needs_clock(env->config) &&
        freshness_clock_read(&env->freshness, sent_us, received_us, server_us))
        back_env_post_freshness(env);
}

void back_env_store_changed(struct back_env *env, enum store_change change)
{
    if (change == STORE_REPLACED)
        freshness_everything_changed(&env->freshness, clock_monotonic_us());
    else if (change == STORE_RESTARTED)
        freshness_changes_may_be_missing(&env->freshness, clock_monotonic_us());
}

void back_env_reply(struct back_env *env, uint64_t ask, struct buffer *reply)
{
    back_env_post(env, &(struct to_front){.type = TO_FRONT_REPLY, .ask = ask, .reply = *reply});
    *reply = (struct buffer){0};
}
