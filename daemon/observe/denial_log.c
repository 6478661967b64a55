/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/denial_log.h>

#include <inttypes.h>
#include <string.h>

static const int64_t minute_us = 60000000;

static const struct {
    enum metric metric;
    const char *name;
} reasons[DENIAL_REASONS] = {
    {METRIC_CHECKS_UNKNOWN, "DENY unknown"},
    {METRIC_CHECKS_INACTIVE, "DENY inactive"},
    {METRIC_CHECKS_EXPIRED, "DENY expired"},
    {METRIC_CHECKS_EARLY, "DENY early"},
    {METRIC_CHECKS_MALFORMED, "DENY unknown by keys.form"},
    {METRIC_CHECKS_REFUSED, "malformed or missing keys"},
};

/* A client may have written anything there, its key too: only addresses are shown. */
static bool are_addresses(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!text[i] || !strchr("0123456789abcdefABCDEF.:, []", text[i]))
            return false;
    }
    return len > 0;
}

static void print_asker(const struct denial *denial, struct buffer *out)
{
    if (denial->pid > 0)
        buffer_printf(out, "process %ld of user %u", (long)denial->pid, (unsigned)denial->uid);
    else if (denial->uid != (uid_t)-1)
        buffer_printf(out, "a process of user %u in another PID namespace", (unsigned)denial->uid);
    else
        buffer_text(out, "a TCP client");
    if (are_addresses(denial->forwarded, denial->forwarded_len))
        buffer_printf(out, ", for %.*s", (int)denial->forwarded_len, denial->forwarded);
}

void denial_log_write(const struct log *log, const struct denial *denial)
{
    char fingerprint[FINGERPRINT_SIZE];
    struct buffer asker = {0};

    digest_fingerprint(&denial->digest, fingerprint);
    print_asker(denial, &asker);
    log_info(log, "denial: %s: %s from %s; asked by %.*s", fingerprint,
             verdict_kind_name(denial->kind), tier_name(denial->tier), (int)asker.len, asker.data);
    buffer_free(&asker);
}

static void print_counts(const struct denial_log *denials, const struct metrics *total,
                         struct buffer *out)
{
    for (size_t i = 0; i < DENIAL_REASONS; i++) {
        uint64_t count = total->value[reasons[i].metric] - denials->counted[i];

        if (count > 0)
            buffer_printf(out, "%s%" PRIu64 " %s", out->len > 0 ? ", " : "", count,
                          reasons[i].name);
    }
}

void denial_log_tick(struct denial_log *denials, enum log_denials mode, int64_t now_us,
                     const struct metrics *total, const struct log *log)
{
    struct buffer counts = {0};

    if (denials->since_us != 0 && now_us - denials->since_us < minute_us)
        return;
    print_counts(denials, total, &counts);
    if (denials->since_us != 0 && counts.len > 0 && mode != LOG_DENIALS_OFF)
        log_info(log, "denial: in the last minute: %.*s", (int)counts.len, counts.data);
    buffer_free(&counts);
    denials->since_us = now_us;
    for (size_t i = 0; i < DENIAL_REASONS; i++)
        denials->counted[i] = total->value[reasons[i].metric];
}
