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

/* What was kept of X-Forwarded-For, without an address that may have been cut. */
static struct slice forwarded_of(const struct denial *denial)
{
    struct slice text = {denial->forwarded, denial->forwarded_len};
    const char *comma = memchr(text.at, ',', text.len);

    if (text.len < sizeof denial->forwarded)
        return text;
    return comma ? slice_trim((struct slice){comma + 1, (size_t)(text.at + text.len - comma - 1)})
                 : (struct slice){0};
}

/* A client may have written anything there, its key too: only addresses are shown. Each has a dot
 * or a colon, which a key of hexadecimal digits has not. */
static bool are_addresses(struct slice text)
{
    bool address = false;

    for (size_t i = 0; i < text.len; i++) {
        if (!text.at[i] || !strchr("0123456789abcdefABCDEF.:, []", text.at[i]) ||
            (text.at[i] == ',' && !address))
            return false;
        if (text.at[i] == ',')
            address = false;
        else
            address = address || text.at[i] == '.' || text.at[i] == ':';
    }
    return address;
}

static void print_asker(const struct denial *denial, struct buffer *out)
{
    struct slice forwarded = forwarded_of(denial);

    if (denial->pid > 0)
        buffer_printf(out, "process %ld of user %u", (long)denial->pid, (unsigned)denial->uid);
    else if (denial->uid != (uid_t)-1)
        buffer_printf(out, "a process of user %u in another PID namespace", (unsigned)denial->uid);
    else
        buffer_text(out, "a TCP client");
    if (are_addresses(forwarded))
        buffer_printf(out, ", for %.*s", (int)forwarded.len, forwarded.at);
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

/* Each refusal counts once: the sum of DENY unknown has those by keys.form too. */
static uint64_t count_of(const struct metrics *total, enum metric metric)
{
    return total->value[metric] -
           (metric == METRIC_CHECKS_UNKNOWN ? total->value[METRIC_CHECKS_MALFORMED] : 0);
}

static void print_counts(const struct denial_log *denials, const struct metrics *total,
                         struct buffer *out)
{
    for (size_t i = 0; i < DENIAL_REASONS; i++) {
        uint64_t count = count_of(total, reasons[i].metric) - denials->counted[i];

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
        denials->counted[i] = count_of(total, reasons[i].metric);
}
