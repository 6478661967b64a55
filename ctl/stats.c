/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon_client.h"
#include "output.h"

struct report {
    const json_t *status;
    void (*line)(void *arg, const char *text);
    void *arg;
};

enum { TEXT_SIZE = 24 };

/* The value at "a.b.c"; NULL when there is none. */
static const json_t *at(const json_t *value, const char *path)
{
    char name[40];

    while (value && *path) {
        size_t len = strcspn(path, ".");

        snprintf(name, sizeof name, "%.*s", (int)len, path);
        value = json_object_get(value, name);
        path += len + (path[len] == '.');
    }
    return value;
}

static double number(const struct report *report, const char *path)
{
    const json_t *value = at(report->status, path);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text(const struct report *report, const char *path)
{
    const char *string = json_string_value(at(report->status, path));

    return string ? string : "-";
}

static const char *duration(double seconds, char ret[static TEXT_SIZE])
{
    if (isnan(seconds))
        snprintf(ret, TEXT_SIZE, "-");
    else if (seconds >= 172800)
        snprintf(ret, TEXT_SIZE, "%.0f d", floor(seconds / 86400));
    else if (seconds >= 7200)
        snprintf(ret, TEXT_SIZE, "%.0f h", floor(seconds / 3600));
    else if (seconds >= 120)
        snprintf(ret, TEXT_SIZE, "%.0f min", floor(seconds / 60));
    else if (seconds >= 1)
        snprintf(ret, TEXT_SIZE, "%.1f s", seconds);
    else if (seconds >= 1e-3)
        snprintf(ret, TEXT_SIZE, "%.2f ms", seconds * 1e3);
    else
        snprintf(ret, TEXT_SIZE, "%.0f us", seconds * 1e6);
    return ret;
}

static const char *bytes(double count, char ret[static TEXT_SIZE])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int k = 0;

    for (; count >= 1024 && k < 4; k++)
        count /= 1024;
    snprintf(ret, TEXT_SIZE, "%.*f %s", k > 0, count, unit[k]);
    return ret;
}

__attribute__((format(printf, 2, 3))) static void add_line(const struct report *report,
                                                           const char *format, ...)
{
    char line[256];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    report->line(report->arg, line);
}

static void add_latency(const struct report *report, const char *tier)
{
    char path[64], p50[TEXT_SIZE], p99[TEXT_SIZE];
    double rate, middle, high;

    snprintf(path, sizeof path, "latency.%s.per_second", tier);
    rate = number(report, path);
    snprintf(path, sizeof path, "latency.%s.p50_seconds", tier);
    middle = number(report, path);
    snprintf(path, sizeof path, "latency.%s.p99_seconds", tier);
    high = number(report, path);
    add_line(report, "  %-12s %12.1f/s   p50 %-9s p99 %s", tier, rate, duration(middle, p50),
             duration(high, p99));
}

static void add_checks(const struct report *report)
{
    static const char *const tiers[] = {"memory", "redis", "postgres", "stale", "unavailable"};
    double ratio = number(report, "checks.hit_ratio");

    add_line(report,
             "checks        %12.1f/s   ALLOW %.1f, DENY unknown %.1f, inactive %.1f, "
             "expired %.1f, early %.1f, UNAVAILABLE %.1f",
             number(report, "checks.per_second.all"), number(report, "checks.per_second.allow"),
             number(report, "checks.per_second.deny_unknown"),
             number(report, "checks.per_second.deny_inactive"),
             number(report, "checks.per_second.deny_expired"),
             number(report, "checks.per_second.deny_early"),
             number(report, "checks.per_second.unavailable"));
    if (isnan(ratio))
        add_line(report, "answered from");
    else
        add_line(report, "answered from                %.2f %% from memory", 100 * ratio);
    for (size_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++)
        add_latency(report, tiers[i]);
}

static void add_stores(const struct report *report)
{
    char p50[TEXT_SIZE], p99[TEXT_SIZE], lag[TEXT_SIZE];

    add_line(report,
             "PostgreSQL    %-5s %.0f of %.0f connections, p50 %s, p99 %s, %.0f late, %.0f errors",
             text(report, "postgres.state"), number(report, "postgres.connections_up"),
             number(report, "postgres.connections"),
             duration(number(report, "postgres.round_trip.p50_seconds"), p50),
             duration(number(report, "postgres.round_trip.p99_seconds"), p99),
             number(report, "postgres.timeouts"), number(report, "postgres.errors"));
    add_line(report, "Redis         %-5s p50 %s, p99 %s, %.0f late, %.0f errors, %.0f forged",
             text(report, "redis.state"),
             duration(number(report, "redis.round_trip.p50_seconds"), p50),
             duration(number(report, "redis.round_trip.p99_seconds"), p99),
             number(report, "redis.timeouts"), number(report, "redis.errors"),
             number(report, "redis.forged"));
    add_line(report, "change feed   %-5s last change enforced after %s; bound: %s",
             text(report, "feed.state"), duration(number(report, "feed.lag_last_seconds"), lag),
             text(report, "feed.revocation_bound"));
}

static void add_usage(const struct report *report)
{
    char oldest[TEXT_SIZE], ledger[TEXT_SIZE], spill[TEXT_SIZE], resident[TEXT_SIZE];

    add_line(report,
             "usage         %.0f keys pending, oldest %s, %.1f rows/s written; ledger %s, spill %s",
             number(report, "usage.pending"),
             duration(number(report, "usage.oldest_pending_seconds"), oldest),
             number(report, "usage.rows_per_second"),
             bytes(number(report, "usage.ledger_bytes"), ledger),
             bytes(number(report, "usage.spill_bytes"), spill));
    add_line(report, "cache         %.0f of %.0f keys, %.0f of %.0f unknown ones, %.0f evictions",
             number(report, "cache.entries"), number(report, "cache.slots"),
             number(report, "cache.unknown_entries"), number(report, "cache.unknown_slots"),
             number(report, "cache.evictions"));
    add_line(report,
             "process       %.0f of %.0f connections, %s, front thread %.1f %% busy, back %.1f %%",
             number(report, "process.connections"), number(report, "process.connections_limit"),
             bytes(number(report, "process.resident_bytes"), resident),
             100 * number(report, "process.front_cpu"), 100 * number(report, "process.back_cpu"));
}

void stats_print(const json_t *status, void (*line)(void *arg, const char *text), void *arg)
{
    struct report report = {.status = status, .line = line, .arg = arg};
    char uptime[TEXT_SIZE];

    add_line(&report, "apikeyd %s, up for %s, %s: %s", text(&report, "version"),
             duration(number(&report, "uptime_seconds"), uptime),
             json_is_true(json_object_get(status, "ready")) ? "ready" : "NOT READY",
             text(&report, "readiness"));
    add_checks(&report);
    add_stores(&report);
    add_usage(&report);
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    output_text(line);
    putchar('\n');
}

int run_stats(const struct request *request)
{
    struct timespec pause = {(time_t)request->watch_s, (long)(fmod(request->watch_s, 1) * 1e9)};
    redisContext *context = daemon_connect(request);

    for (;;) {
        json_t *status = daemon_status(context);

        if (request->json) {
            /* Watched, each status is a line, for programs that read lines. */
            json_dumpf(status, stdout, request->watch_s > 0 ? JSON_COMPACT : JSON_INDENT(2));
            putchar('\n');
        } else {
            if (request->watch_s > 0 && isatty(STDOUT_FILENO))
                printf("\033[H\033[2J");
            stats_print(status, print_line, NULL);
        }
        json_decref(status);
        if (request->watch_s == 0 || fflush(stdout) != 0)
            break;
        nanosleep(&pause, NULL);
    }
    redisFree(context);
    return EXIT_SUCCESS;
}
