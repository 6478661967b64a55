/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/status_snapshot.h>

#include <inttypes.h>
#include <unistd.h>

static const char *redis_state(const struct status_snapshot *snapshot, bool answered)
{
    const uint64_t *value = snapshot->total.value;

    if (!value[METRIC_REDIS_CONFIGURED])
        return "off";
    if (!value[METRIC_REDIS_UP])
        return "down";
    if (!snapshot->redis_dated)
        return "up, but PostgreSQL's clock is not known yet";
    return answered ? "up" : "up, but holds nothing that is known to be usable";
}

bool status_snapshot_ready(const struct status_snapshot *snapshot, struct buffer *why)
{
    const uint64_t *value = snapshot->total.value;
    bool postgres = snapshot->postgres_answers;
    bool redis = value[METRIC_REDIS_UP] && snapshot->redis_dated && snapshot->redis_servable;
    bool memory = value[METRIC_CACHE_ENTRIES] > 0 && snapshot->memory_servable;

    if (snapshot->stopping) {
        buffer_text(why, "the daemon is stopping: draining");
        return false;
    }
    buffer_printf(why, "PostgreSQL is %s; ", postgres ? "up" : "down");
    buffer_printf(why, "Redis is %s; ", redis_state(snapshot, postgres || redis));
    if (value[METRIC_CACHE_ENTRIES] == 0)
        buffer_text(why, "memory is empty");
    else
        buffer_printf(why, "memory holds %" PRIu64 " verdicts%s", value[METRIC_CACHE_ENTRIES],
                      postgres || redis || memory ? "" : ", none of which may be served");
    return postgres || redis || memory;
}

void status_snapshot_print_line(const struct status_snapshot *snapshot, struct buffer *out)
{
    const uint64_t *recent = snapshot->recent.value;
    uint64_t checks = recent[METRIC_CHECKS_ALLOW] + recent[METRIC_CHECKS_UNKNOWN] +
                      recent[METRIC_CHECKS_INACTIVE] + recent[METRIC_CHECKS_EXPIRED] +
                      recent[METRIC_CHECKS_EARLY] + recent[METRIC_CHECKS_UNAVAILABLE];
    uint64_t judged = checks - recent[METRIC_CHECKS_MALFORMED]; /* of keys that can exist */
    double seconds = snapshot->window_us > 0 ? (double)snapshot->window_us / 1e6 : 1;
    struct buffer why = {0};
    bool ready = status_snapshot_ready(snapshot, &why);

    buffer_printf(out, "%s: %.0f checks/s", ready ? "ready" : "not ready",
                  (double)checks / seconds);
    if (judged > 0)
        buffer_printf(out, ", %.1f %% from memory",
                      100 * (double)recent[METRIC_HITS_MEMORY] / (double)judged);
    buffer_printf(out, "; change feed %s; ", snapshot->total.value[METRIC_FEED_UP] ? "up" : "down");
    buffer_append(out, buffer_held(&why).at, why.len);
    buffer_free(&why);
}

void status_snapshot_print_info(const struct status_snapshot *snapshot, const char *section,
                                struct buffer *out)
{
    char store[STORE_TEXT_SIZE] = "unknown";

    if (snapshot->has_store)
        store_id_to_text(&snapshot->store, store);
    if (!section[0] || strcasecmp(section, "server") == 0)
        buffer_printf(out,
                      "# Server\r\n"
                      "apikeyd_version:%s\r\n"
                      "process_id:%ld\r\n"
                      "uptime_in_seconds:%" PRId64 "\r\n"
                      "loading:0\r\n" /* some clients wait for it before they are ready */
                      "revocation_bound:%s\r\n"
                      "lookup_fault:%s\r\n"
                      "front_cpu:%s\r\n"
                      "store:%s\r\n",
                      APIKEYD_VERSION, (long)getpid(), snapshot->uptime_us / 1000000,
                      snapshot->revocation_bound,
                      snapshot->lookup_fault ? snapshot->lookup_fault : "none",
                      snapshot->front_cpu ? snapshot->front_cpu : "none", store);
    metrics_print_info(&snapshot->total, section, out);
}
