/* SPDX-License-Identifier: MIT */
#include "status_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *seconds(uint64_t us)
{
    return json_real((double)us / 1e6);
}

/* An unknown value is null. */
static json_t *known(bool is_known, double value)
{
    return is_known ? json_real(value) : json_null();
}

/* Messages of servers may come in any encoding, which JSON may not. */
static json_t *text(const char *bytes)
{
    json_t *string = json_string(bytes);
    char ascii[EVENT_TEXT_SIZE];
    size_t len = 0;

    if (string)
        return string;
    for (; len < sizeof ascii - 1 && bytes[len]; len++)
        ascii[len] = (char)((unsigned char)bytes[len] < 0x80 ? bytes[len] : '?');
    ascii[len] = '\0';
    return json_string(ascii);
}

struct iso {
    char text[sizeof "2026-11-24T00:00:00Z"]; /* "" when there is no such year */
};

static struct iso iso(int64_t at_us)
{
    time_t at = (time_t)(at_us / 1000000);
    struct tm utc;
    struct iso iso;

    if (!gmtime_r(&at, &utc) ||
        strftime(iso.text, sizeof iso.text, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        iso.text[0] = '\0';
    return iso;
}

static json_t *timestamp(int64_t at_us)
{
    struct iso at = iso(at_us);

    return at.text[0] ? json_string(at.text) : json_null();
}

static double rate(const struct status_snapshot *snapshot, uint64_t count)
{
    return snapshot->window_us > 0 ? (double)count * 1e6 / (double)snapshot->window_us : 0;
}

static uint64_t checks_of(const struct metrics *metrics)
{
    const uint64_t *value = metrics->value;

    return value[METRIC_CHECKS_ALLOW] + value[METRIC_CHECKS_UNKNOWN] +
           value[METRIC_CHECKS_INACTIVE] + value[METRIC_CHECKS_EXPIRED] +
           value[METRIC_CHECKS_EARLY] + value[METRIC_CHECKS_UNAVAILABLE];
}

static json_t *checks(const struct status_snapshot *snapshot)
{
    const uint64_t *recent = snapshot->recent.value;
    const uint64_t *total = snapshot->total.value;
    uint64_t answered = checks_of(&snapshot->recent);
    uint64_t judged = answered - recent[METRIC_CHECKS_MALFORMED]; /* of keys that can exist */

    return json_pack(
        "{s:{s:f,s:f,s:f,s:f,s:f,s:f,s:f},s:{s:o,s:o,s:o,s:o,s:o,s:o},s:o,s:f,s:f}", "per_second",
        "all", rate(snapshot, answered), "allow", rate(snapshot, recent[METRIC_CHECKS_ALLOW]),
        "deny_unknown", rate(snapshot, recent[METRIC_CHECKS_UNKNOWN]), "deny_inactive",
        rate(snapshot, recent[METRIC_CHECKS_INACTIVE]), "deny_expired",
        rate(snapshot, recent[METRIC_CHECKS_EXPIRED]), "deny_early",
        rate(snapshot, recent[METRIC_CHECKS_EARLY]), "unavailable",
        rate(snapshot, recent[METRIC_CHECKS_UNAVAILABLE]), "total", "allow",
        number(total[METRIC_CHECKS_ALLOW]), "deny_unknown", number(total[METRIC_CHECKS_UNKNOWN]),
        "deny_inactive", number(total[METRIC_CHECKS_INACTIVE]), "deny_expired",
        number(total[METRIC_CHECKS_EXPIRED]), "deny_early", number(total[METRIC_CHECKS_EARLY]),
        "unavailable", number(total[METRIC_CHECKS_UNAVAILABLE]), "hit_ratio",
        known(judged > 0, (double)recent[METRIC_HITS_MEMORY] / (double)(judged ? judged : 1)),
        "stale_per_second", rate(snapshot, recent[METRIC_HITS_STALE]), "malformed_per_second",
        rate(snapshot, recent[METRIC_CHECKS_MALFORMED]));
}

/* Figures of the last window; null where nothing was measured. */
static json_t *quantiles(const struct status_snapshot *snapshot, enum histogram_id id)
{
    const struct histogram *histogram = &snapshot->recent.histogram[id];
    uint64_t count = histogram_count(histogram);

    return json_pack("{s:f,s:o,s:o}", "per_second", rate(snapshot, count), "p50_seconds",
                     known(count > 0, histogram_quantile(histogram, 0.5) / 1e6), "p99_seconds",
                     known(count > 0, histogram_quantile(histogram, 0.99) / 1e6));
}

static json_t *latency(const struct status_snapshot *snapshot)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "memory", quantiles(snapshot, HISTOGRAM_CHECK_MEMORY),
                     "redis", quantiles(snapshot, HISTOGRAM_CHECK_REDIS), "postgres",
                     quantiles(snapshot, HISTOGRAM_CHECK_POSTGRES), "stale",
                     quantiles(snapshot, HISTOGRAM_CHECK_STALE), "unavailable",
                     quantiles(snapshot, HISTOGRAM_CHECK_NONE));
}

static json_t *cache(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;

    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "entries",
                     number(total[METRIC_CACHE_ENTRIES]), "slots",
                     number(total[METRIC_CACHE_SLOTS]), "unknown_entries",
                     number(total[METRIC_NEGATIVE_ENTRIES]), "unknown_slots",
                     number(total[METRIC_NEGATIVE_SLOTS]), "evictions",
                     number(total[METRIC_CACHE_EVICTIONS] + total[METRIC_NEGATIVE_EVICTIONS]),
                     "attribute_used_bytes", number(total[METRIC_ATTRIBUTE_USED]),
                     "attribute_bytes", number(total[METRIC_ATTRIBUTE_BYTES]));
}

static json_t *feed_of(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;
    const struct histogram *lag = &snapshot->total.histogram[HISTOGRAM_REVOCATION_LAG_US];
    bool measured = histogram_count(lag) > 0;

    return json_pack(
        "{s:s,s:s,s:b,s:o,s:o,s:o,s:o}", "state", total[METRIC_FEED_UP] ? "up" : "down",
        "revocation_bound", snapshot->revocation_bound, "triggers", total[METRIC_FEED_TRIGGER] > 0,
        "round_trip_seconds", seconds(total[METRIC_FEED_ROUND_TRIP]), "lag_last_seconds",
        known(measured, (double)total[METRIC_REVOCATION_LAG] / 1e6), "lag_p99_seconds",
        known(measured, histogram_quantile(lag, 0.99) / 1e6), "losses",
        number(total[METRIC_FEED_LOSSES]));
}

static const char *up_or_down(bool up)
{
    return up ? "up" : "down";
}

static json_t *redis(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;
    const char *state = total[METRIC_REDIS_CONFIGURED] ? up_or_down(total[METRIC_REDIS_UP]) : "off";

    return json_pack(
        "{s:s,s:o,s:o,s:o,s:o}", "state", state, "round_trip",
        quantiles(snapshot, HISTOGRAM_REDIS_TIME), "timeouts", number(total[METRIC_REDIS_TIMEOUTS]),
        "errors", number(total[METRIC_REDIS_ERRORS]), "forged", number(total[METRIC_REDIS_FORGED]));
}

static json_t *postgres(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;

    return json_pack(
        "{s:s,s:o,s:o,s:o,s:o,s:o}", "state", up_or_down(total[METRIC_POSTGRES_ANSWERS]),
        "connections_up", number(total[METRIC_POSTGRES_UP]), "connections",
        number(total[METRIC_POSTGRES_WANTED]), "round_trip",
        quantiles(snapshot, HISTOGRAM_POSTGRES_TIME), "timeouts",
        number(total[METRIC_POSTGRES_TIMEOUTS]), "errors", number(total[METRIC_POSTGRES_ERRORS]));
}

static json_t *usage(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;

    return json_pack(
        "{s:o,s:o,s:f,s:o,s:o,s:o,s:b,s:o,s:o}", "pending", number(total[METRIC_USAGE_PENDING]),
        "oldest_pending_seconds", seconds(total[METRIC_USAGE_OLDEST]), "rows_per_second",
        rate(snapshot, snapshot->recent.value[METRIC_USAGE_ROWS]), "flush_failures",
        number(total[METRIC_USAGE_FAILURES]), "unrecorded", number(total[METRIC_USAGE_UNRECORDED]),
        "lost", number(total[METRIC_USAGE_LOST]), "ledger_safe", total[METRIC_LEDGER_SAFE] > 0,
        "ledger_bytes", number(total[METRIC_LEDGER_BYTES]), "spill_bytes",
        number(total[METRIC_SPILL_BYTES]));
}

static json_t *process(const struct status_snapshot *snapshot)
{
    const uint64_t *total = snapshot->total.value;
    const uint64_t *recent = snapshot->recent.value;

    return json_pack("{s:o,s:f,s:f,s:o,s:o,s:o}", "resident_bytes",
                     number(total[METRIC_PROCESS_MEMORY]), "front_cpu",
                     rate(snapshot, recent[METRIC_FRONT_CPU]) / 1e6, "back_cpu",
                     rate(snapshot, recent[METRIC_BACK_CPU]) / 1e6, "connections",
                     number(total[METRIC_CONNECTIONS]), "connections_limit",
                     number(total[METRIC_CONNECTIONS_MAX]), "lookups_pending",
                     number(total[METRIC_LOOKUPS_PENDING]));
}

static json_t *events(const struct events *lines)
{
    json_t *array = json_array();
    const struct event_line *line;

    for (size_t age = 0; (line = events_at(lines, age)); age++)
        json_array_append_new(array,
                              json_pack("{s:o,s:s,s:o}", "at", timestamp(line->at_us), "level",
                                        log_level_name(line->level), "text", text(line->text)));
    return array;
}

/* Null while uses are not counted. */
static json_t *busiest_keys(const struct status_snapshot *snapshot)
{
    json_t *keys;

    if (!snapshot->busy_keys)
        return json_null();
    struct busiest busiest = busy_keys_look(snapshot->busy_keys, snapshot->uptime_us);
    keys = json_array();
    for (size_t i = 0; i < busiest.len; i++) {
        char id[ID_TEXT_MAX];
        size_t len = row_id_to_text(&busiest.key[i].api_key_id, busiest.type, id);

        json_array_append_new(keys, json_pack("{s:s%,s:o}", "api_key_id", id, len, "uses",
                                              number(busiest.key[i].uses)));
    }
    return json_pack("{s:o,s:o,s:o}", "since",
                     timestamp(snapshot->now_us - snapshot->uptime_us + busiest.since_us),
                     "unseen_uses", number(busiest.unseen), "keys", keys);
}

/* A column of numbers, the oldest step first. A step without a sample, and a figure that was not
 * measured in a step, is null. */
static void print_column(const struct history *history, enum history_figure figure,
                         struct buffer *out)
{
    for (int64_t i = history_begin(history); i < history_end(history); i++) {
        const struct history_step *step = history_at(history, i);
        const char *comma = i > history_begin(history) ? "," : "";

        if (step && step->figure[figure] >= 0)
            buffer_printf(out, "%s%" PRId64, comma, step->figure[figure]);
        else
            buffer_printf(out, "%snull", comma);
    }
}

/* Printed without jansson: thousands of its numbers would take a millisecond of the back thread. */
static void print_history(const struct status_snapshot *snapshot, struct buffer *out)
{
    static const char *const names[HISTORY_FIGURES] = {
        [HISTORY_COVERED_US] = "covered_us",
        [HISTORY_ALLOW] = "allow",
        [HISTORY_DENY_UNKNOWN] = "deny_unknown",
        [HISTORY_DENY_INACTIVE] = "deny_inactive",
        [HISTORY_DENY_EXPIRED] = "deny_expired",
        [HISTORY_DENY_EARLY] = "deny_early",
        [HISTORY_UNAVAILABLE] = "unavailable",
        [HISTORY_FROM_MEMORY] = "from_memory",
        [HISTORY_P50_US] = "p50_us",
        [HISTORY_P99_US] = "p99_us",
        [HISTORY_LAG_P99_US] = "revocation_lag_p99_us",
        [HISTORY_USAGE_PENDING] = "usage_pending",
    };
    const struct history *history = snapshot->history;
    int64_t age_us =
        snapshot->uptime_us - history_begin(history) * HISTORY_STEP_SECONDS * INT64_C(1000000);
    struct iso since = iso(snapshot->now_us - age_us);

    buffer_printf(out, "{\"since\":\"%s\",\"step_seconds\":%d", since.text, HISTORY_STEP_SECONDS);
    for (enum history_figure figure = 0; figure < HISTORY_FIGURES; figure++) {
        buffer_printf(out, ",\"%s\":[", names[figure]);
        print_column(history, figure, out);
        buffer_text(out, "]");
    }
    buffer_text(out, "}");
}

void status_json_print(const struct status_snapshot *snapshot, struct buffer *out)
{
    struct buffer why = {0};
    bool ready = status_snapshot_ready(snapshot, &why);
    json_t *root = json_pack(
        "{s:s,s:i,s:o,s:f,s:f,s:b,s:s%,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "version",
        APIKEYD_VERSION, "pid", (int)getpid(), "at", timestamp(snapshot->now_us), "uptime_seconds",
        (double)snapshot->uptime_us / 1e6, "window_seconds", (double)snapshot->window_us / 1e6,
        "ready", ready, "readiness", why.data, why.len, "checks", checks(snapshot), "latency",
        latency(snapshot), "cache", cache(snapshot), "feed", feed_of(snapshot), "link",
        /* deprecated */ feed_of(snapshot), "redis", redis(snapshot), "postgres",
        postgres(snapshot), "usage", usage(snapshot), "busiest_keys", busiest_keys(snapshot),
        "process", process(snapshot), "events", events(snapshot->events));
    char *json = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

    /* These calls can only fail for lack of memory. */
    if (json) {
        buffer_append(out, json, strlen(json) - strlen("}"));
        buffer_text(out, ",\"history\":");
        print_history(snapshot, out);
        buffer_text(out, "}");
    } else {
        buffer_text(out, "{}");
    }
    free(json);
    json_decref(root);
    buffer_free(&why);
}
