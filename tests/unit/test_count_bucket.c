/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <time.h>

#include "count_bucket.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)

static int64_t utc(const char *text)
{
    struct tm fields = {0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &fields));
    return (int64_t)timegm(&fields) * SECOND;
}

/* The bucket that counts at this time of PostgreSQL's clock, while this host's is wrong. */
static uint32_t bucket_at(struct front *front, const char *text)
{
    struct pg_reading *reading = &front->freshness.inputs.reading;

    front->now_us += SECOND;
    front->wall_us = utc("2001-02-03 04:05:06");
    *reading = (struct pg_reading){.known = true, .at_us = front->now_us};
    reading->min_us = reading->max_us = utc(text) - front->now_us;
    count_bucket_turn(front);
    assert_int_equal(front->bucket.allow_tag, usage_tag(VERDICT_ALLOW, front->bucket.hour));
    assert_true(front->bucket.until_us > front->now_us);
    return front->bucket.hour;
}

static uint32_t hour(const char *text)
{
    return (uint32_t)(utc(text) / HOUR);
}

static void test_hours_and_days_are_postgresqls_in_utc(void **state)
{
    struct config config = {.usage_counts = USAGE_COUNTS_HOUR};
    struct front front = {.config = &config};

    (void)state;
    assert_int_equal(bucket_at(&front, "2026-11-30 23:59:59"), hour("2026-11-30 23:00:00"));
    assert_int_equal(front.bucket.until_us, front.now_us + SECOND);
    assert_int_equal(bucket_at(&front, "2026-12-01 00:00:00"), hour("2026-12-01 00:00:00"));
    assert_int_equal(bucket_at(&front, "2026-11-30 23:10:00"), hour("2026-11-30 23:00:00"));
    assert_int_equal(bucket_at(&front, "2016-12-31 23:59:60"), hour("2017-01-01 00:00:00"));
    /* An hour that a zone has twice, or not at all, is one here. */
    assert_int_equal(bucket_at(&front, "2026-10-25 01:30:00") - hour("2026-10-25 00:00:00"), 1);
    config.usage_counts = USAGE_COUNTS_DAY;
    assert_int_equal(bucket_at(&front, "2026-11-30 23:59:59"), hour("2026-11-30 00:00:00"));
    assert_int_equal(bucket_at(&front, "2026-12-01 00:00:01"), hour("2026-12-01 00:00:00"));
    assert_int_equal(bucket_at(&front, "2028-02-29 12:00:00"), hour("2028-02-29 00:00:00"));
}

static void test_without_postgresqls_clock_it_is_the_hosts(void **state)
{
    struct config config = {.usage_counts = USAGE_COUNTS_HOUR};
    struct front front = {.config = &config, .now_us = SECOND};

    (void)state;
    front.wall_us = utc("2026-11-30 10:20:30");
    count_bucket_turn(&front);
    assert_int_equal(front.bucket.hour, hour("2026-11-30 10:00:00"));
    front.wall_us = 17; /* a host whose clock is not set counts too */
    count_bucket_turn(&front);
    assert_int_equal(front.bucket.hour, 1);
    config.usage_counts = USAGE_COUNTS_OFF;
    count_bucket_turn(&front);
    assert_int_equal(front.bucket.allow_tag, 0);
    assert_int_equal(front.bucket.until_us, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hours_and_days_are_postgresqls_in_utc),
        cmocka_unit_test(test_without_postgresqls_clock_it_is_the_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
