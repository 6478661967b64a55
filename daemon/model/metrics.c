/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/metrics.h>

#include <inttypes.h>

enum kind { COUNTER, GAUGE, COUNTER_US, GAUGE_US, GAUGE_PPM };
enum unit { MICROSECONDS, ITEMS };

struct row {
    const char *section, *name, *family, *labels;
    enum kind kind;
    const char *help;
    const char *old_name, *old_family; /* deprecated; NULL or "": there is none */
};

static const struct row table[METRIC_COUNT] = {
#define OLD(name, family) .old_name = (name), .old_family = (family)
/* The last argument is the help and, perhaps, OLD. */
#define X(enumerator, section, name, kind, family, labels, ...)                                    \
    {section, name, family, labels, kind, .help = __VA_ARGS__},
    METRICS(X)
#undef X
#undef OLD
};

/* Sections of INFO that had another name before. */
static const struct {
    const char *old, *now;
} renamed_sections[] = {{"Link", "Feed"}};

static const struct {
    const char *name, *family, *labels, *help;
    enum unit unit;
} histograms[HISTOGRAM_COUNT] = {
#define X(enumerator, name, family, labels, unit, help) {name, family, labels, help, unit},
    HISTOGRAMS(X)
#undef X
};

void metrics_add(struct metrics *target, const struct metrics *addend)
{
    for (size_t i = 0; i < METRIC_COUNT; i++)
        target->value[i] += addend->value[i];
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++)
        histogram_add(&target->histogram[i], &addend->histogram[i]);
}

void metrics_subtract(struct metrics *target, const struct metrics *part)
{
    for (size_t i = 0; i < METRIC_COUNT; i++)
        target->value[i] -= part->value[i];
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++)
        histogram_subtract(&target->histogram[i], &part->histogram[i]);
}

void metrics_sum(struct metrics *metrics)
{
    static const enum metric by_kind[] = {
        [VERDICT_ALLOW] = METRIC_CHECKS_ALLOW,
        [VERDICT_DENY_UNKNOWN] = METRIC_CHECKS_UNKNOWN,
        [VERDICT_DENY_INACTIVE] = METRIC_CHECKS_INACTIVE,
        [VERDICT_DENY_EXPIRED] = METRIC_CHECKS_EXPIRED,
        [VERDICT_DENY_EARLY] = METRIC_CHECKS_EARLY,
    };
    static const enum metric by_tier[] = {
        [TIER_MEMORY] = METRIC_HITS_MEMORY,
        [TIER_REDIS] = METRIC_HITS_REDIS,
        [TIER_POSTGRES] = METRIC_HITS_POSTGRES,
        [TIER_STALE] = METRIC_HITS_STALE,
    };
    uint64_t *value = metrics->value;

    for (enum verdict_kind kind = VERDICT_ALLOW; kind <= VERDICT_LAST; kind++)
        value[by_kind[kind]] = 0;
    for (enum tier tier = TIER_MEMORY; tier < TIER_NONE; tier++)
        value[by_tier[tier]] = 0;
    for (enum verdict_kind kind = VERDICT_ALLOW; kind <= VERDICT_LAST; kind++) {
        for (enum tier tier = TIER_MEMORY; tier < TIER_NONE; tier++) {
            value[by_kind[kind]] += value[metric_of_check(kind, tier)];
            value[by_tier[tier]] += value[metric_of_check(kind, tier)];
        }
    }
    value[METRIC_CHECKS_UNKNOWN] += value[METRIC_CHECKS_MALFORMED];
}

static void print_distributions(const struct metrics *metrics, struct buffer *out)
{
    buffer_printf(out, "\r\n# Distributions\r\n");
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++) {
        const struct histogram *histogram = &metrics->histogram[i];
        uint64_t count = histogram_count(histogram);

        buffer_printf(out, "%s:count=%" PRIu64 ",p50=%.0f,p99=%.0f,mean=%.0f\r\n",
                      histograms[i].name, count, count ? histogram_quantile(histogram, 0.5) : 0,
                      count ? histogram_quantile(histogram, 0.99) : 0,
                      count ? (double)histogram->sum / (double)count : 0);
    }
}

static bool there(const char *text)
{
    return text && text[0];
}

static const char *section_now(const char *section)
{
    for (size_t i = 0; i < sizeof renamed_sections / sizeof renamed_sections[0]; i++) {
        if (strcasecmp(section, renamed_sections[i].old) == 0)
            return renamed_sections[i].now;
    }
    return section;
}

void metrics_print_info(const struct metrics *metrics, const char *section, struct buffer *out)
{
    const char *last = "";

    section = section_now(section);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (!table[i].name[0] || metrics->value[i] == METRIC_ABSENT ||
            (section[0] && strcasecmp(section, table[i].section) != 0))
            continue;
        if (strcmp(last, table[i].section) != 0)
            buffer_printf(out, "\r\n# %s\r\n", table[i].section);
        last = table[i].section;
        buffer_printf(out, "%s:%" PRIu64 "\r\n", table[i].name, metrics->value[i]);
        if (there(table[i].old_name))
            buffer_printf(out, "%s:%" PRIu64 "\r\n", table[i].old_name, metrics->value[i]);
    }
    if (!section[0] || strcasecmp(section, "distributions") == 0)
        print_distributions(metrics, out);
}

/* Names common to all exporters have no prefix of ours. */
static const char *prefix_of(const char *family)
{
    return strncmp(family, "process_", strlen("process_")) == 0 ? "" : "apikeyd_";
}

static void print_head(const char *family, const char *help, const char *type, struct buffer *out)
{
    const char *prefix = prefix_of(family);

    buffer_printf(out, "# HELP %s%s %s.\n# TYPE %s%s %s\n", prefix, family, help, prefix, family,
                  type);
}

/* A number of millionths, exactly. */
static void print_millionths(uint64_t us, struct buffer *out)
{
    buffer_printf(out, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

static void print_number(const struct row *row, const char *family, uint64_t value,
                         struct buffer *out)
{
    bool labelled = row->labels[0];

    buffer_printf(out, "%s%s%s%s%s ", prefix_of(family), family, labelled ? "{" : "", row->labels,
                  labelled ? "}" : "");
    if (row->kind >= COUNTER_US)
        print_millionths(value, out);
    else
        buffer_printf(out, "%" PRIu64 "\n", value);
}

static void print_series(size_t i, const char *suffix, const char *bound, struct buffer *out)
{
    const char *labels = histograms[i].labels;

    buffer_printf(out, "apikeyd_%s%s", histograms[i].family, suffix);
    if (labels[0] || bound[0])
        buffer_printf(out, "{%s%s%s}", labels, labels[0] && bound[0] ? "," : "", bound);
    buffer_text(out, " ");
}

static void print_histogram(size_t i, const struct histogram *histogram, struct buffer *out)
{
    bool seconds = histograms[i].unit == MICROSECONDS;
    uint64_t count = 0;

    for (int k = 0; k < HISTOGRAM_BUCKETS; k++) {
        char bound[40] = "le=\"+Inf\"";

        count += histogram->bucket[k];
        if (k < HISTOGRAM_BUCKETS - 1)
            snprintf(bound, sizeof bound, "le=\"%.9g\"", (double)(1ULL << k) / (seconds ? 1e6 : 1));
        print_series(i, "_bucket", bound, out);
        buffer_printf(out, "%" PRIu64 "\n", count);
    }
    print_series(i, "_sum", "", out);
    if (seconds)
        print_millionths(histogram->sum, out);
    else
        buffer_printf(out, "%" PRIu64 "\n", histogram->sum);
    print_series(i, "_count", "", out);
    buffer_printf(out, "%" PRIu64 "\n", count);
}

static const char *type_of(enum kind kind)
{
    return kind == COUNTER || kind == COUNTER_US ? "counter" : "gauge";
}

/* The same numbers under their deprecated names. */
static void print_deprecated(const struct metrics *metrics, struct buffer *out)
{
    const char *last = "";

    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct row *row = &table[i];

        if (!there(row->old_family))
            continue;
        if (strcmp(last, row->old_family) != 0) {
            char help[128];

            snprintf(help, sizeof help, "deprecated: %s%s", prefix_of(row->family), row->family);
            print_head(row->old_family, help, type_of(row->kind), out);
        }
        last = row->old_family;
        print_number(row, row->old_family, metrics->value[i], out);
    }
}

void metrics_print_exposition(const struct metrics *metrics, struct buffer *out)
{
    const char *last = "";

    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (!table[i].family[0] || metrics->value[i] == METRIC_ABSENT)
            continue;
        if (strcmp(last, table[i].family) != 0)
            print_head(table[i].family, table[i].help, type_of(table[i].kind), out);
        last = table[i].family;
        print_number(&table[i], table[i].family, metrics->value[i], out);
    }
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++) {
        if (strcmp(last, histograms[i].family) != 0)
            print_head(histograms[i].family, histograms[i].help, "histogram", out);
        last = histograms[i].family;
        print_histogram(i, &metrics->histogram[i], out);
    }
    print_deprecated(metrics, out);
}

static void print_row(FILE *out, const char *section, const char *name, const char *family,
                      const char *labels, const char *type, const char *help)
{
    bool labelled = labels[0];
    bool exposed = family[0];

    if (name[0])
        fprintf(out, "| %s | `%s` ", section, name);
    else
        fprintf(out, "| | ");
    if (exposed)
        fprintf(out, "| `%s%s%s%s%s` ", prefix_of(family), family, labelled ? "{" : "", labels,
                labelled ? "}" : "");
    else
        fprintf(out, "| ");
    fprintf(out, "| %s | %s", type, help);
}

static void print_old_names(FILE *out, const struct row *row)
{
    bool name = there(row->old_name), family = there(row->old_family);

    if (!name && !family)
        return;
    fprintf(out, ". Deprecated: ");
    if (name)
        fprintf(out, "`%s`%s", row->old_name, family ? ", " : "");
    if (family)
        fprintf(out, "`%s%s`", prefix_of(row->old_family), row->old_family);
}

void metrics_print_markdown(FILE *out)
{
    fprintf(out, "| INFO section | INFO name | metric | kind | meaning |\n"
                 "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        print_row(out, table[i].section, table[i].name, table[i].family, table[i].labels,
                  type_of(table[i].kind), table[i].help);
        print_old_names(out, &table[i]);
        fprintf(out, " |\n");
    }
    for (size_t i = 0; i < HISTOGRAM_COUNT; i++) {
        print_row(out, "Distributions", histograms[i].name, histograms[i].family,
                  histograms[i].labels, "histogram", histograms[i].help);
        fprintf(out, " |\n");
    }
}
