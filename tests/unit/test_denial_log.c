/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/observe/denial_log.h>

/* The last line, and how many there were. */
struct lines {
    size_t count;
    char last[LOG_LINE_SIZE];
};

static void take_line(void *arg, enum log_level level, const struct log_place *place,
                      const char *line)
{
    struct lines *lines = arg;

    (void)place;
    assert_int_equal(level, LOG_LEVEL_INFO);
    lines->count++;
    snprintf(lines->last, sizeof lines->last, "%s", line);
}

static const int64_t second_us = 1000000;

static void test_a_summary_a_minute(void **state)
{
    struct lines lines = {0};
    const struct log log = {.level = LOG_LEVEL_INFO, .sink = take_line, .arg = &lines};
    struct denial_log denials = {0};
    struct metrics total = {0};
    int64_t now_us = 7 * second_us;

    (void)state;
    total.value[METRIC_CHECKS_UNKNOWN] = 5; /* from before */
    denial_log_tick(&denials, LOG_DENIALS_SUMMARY, now_us, &total, &log);
    total.value[METRIC_CHECKS_UNKNOWN] += 3 + 2; /* the sum has those by keys.form too */
    total.value[METRIC_CHECKS_MALFORMED] += 2;
    total.value[METRIC_CHECKS_REFUSED] += 1;
    denial_log_tick(&denials, LOG_DENIALS_SUMMARY, now_us + 59 * second_us, &total, &log);
    assert_int_equal(lines.count, 0);
    denial_log_tick(&denials, LOG_DENIALS_SUMMARY, now_us + 60 * second_us, &total, &log);
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.last, "denial: in the last minute: 3 DENY unknown, 2 DENY unknown by "
                                    "keys.form, 1 malformed or missing keys");
    /* A minute without refusals has no line. */
    denial_log_tick(&denials, LOG_DENIALS_ALL, now_us + 120 * second_us, &total, &log);
    total.value[METRIC_CHECKS_INACTIVE] = 2;
    denial_log_tick(&denials, LOG_DENIALS_OFF, now_us + 180 * second_us, &total, &log);
    assert_int_equal(lines.count, 1);
    /* What a minute that is off had is not in the next. */
    total.value[METRIC_CHECKS_INACTIVE] += 1;
    denial_log_tick(&denials, LOG_DENIALS_SAMPLED, now_us + 240 * second_us, &total, &log);
    assert_string_equal(lines.last, "denial: in the last minute: 1 DENY inactive");
    assert_int_equal(lines.count, 2);
}

static const char *line_of(struct denial denial, const char *forwarded, struct lines *lines)
{
    const struct log log = {.level = LOG_LEVEL_INFO, .sink = take_line, .arg = lines};

    denial.forwarded_len = (uint8_t)strlen(forwarded);
    memcpy(denial.forwarded, forwarded, denial.forwarded_len);
    denial_log_write(&log, &denial);
    return lines->last;
}

static void test_who_asked(void **state)
{
    struct lines lines = {0};
    struct denial denial = {
        .kind = VERDICT_DENY_UNKNOWN, .tier = TIER_MEMORY, .pid = 12, .uid = 33};

    (void)state;
    assert_string_equal(line_of(denial, "203.0.113.9, [2001:db8::1]", &lines),
                        "denial: fp:00000000: DENY unknown from memory; asked by process 12 of "
                        "user 33, for 203.0.113.9, [2001:db8::1]");
    denial.pid = 0;
    denial.kind = VERDICT_DENY_INACTIVE;
    assert_string_equal(line_of(denial, "my-secret-key", &lines),
                        "denial: fp:00000000: DENY inactive from memory; asked by a process of "
                        "user 33 in another PID namespace");
    assert_null(strstr(line_of(denial, "10.0.0.1, 0123456789abcdef", &lines), ", for"));
    /* The first of so many may be the end of an address. */
    assert_non_null(strstr(
        line_of(denial, "db8::1, 2001:0db8:0000:0000:0000:0000:0000:0001, 198.51.100.201", &lines),
        ", for 2001:0db8:0000:0000:0000:0000:0000:0001, 198.51.100.201"));
    denial.uid = (uid_t)-1;
    denial.tier = TIER_POSTGRES;
    assert_string_equal(line_of(denial, "1.2.3.4\n", &lines),
                        "denial: fp:00000000: DENY inactive from postgres; asked by a TCP client");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_summary_a_minute),
                                       cmocka_unit_test(test_who_asked)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
