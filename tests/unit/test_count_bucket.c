/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <time.h>

#include <apikeyd/auth/count_bucket.h>
#include <apikeyd/ledger/usage_batch.h>

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)

static int64_t utc(const char *text)
{
    struct tm fields = {0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &fields));
    return (int64_t)timegm(&fields) * SECOND;
}

/* The bucket that counts at this time of PostgreSQL's clock, while this host's is wrong. */
static struct count_bucket at(enum usage_counts counts, const char *text)
{
    static const int64_t now_us = 1000 * SECOND;
    struct pg_reading reading = {.known = true, .at_us = now_us};

    reading.min_us = reading.max_us = utc(text) - now_us;
    struct count_bucket bucket =
        count_bucket_at(counts, &reading, now_us, utc("2001-02-03 04:05:06"));
    assert_int_equal(bucket.allow_tag, usage_tag(VERDICT_ALLOW, bucket.hour));
    assert_true(bucket.until_us > now_us);
    return bucket;
}

static void assert_bucket(enum usage_counts counts, const char *text, const char *begins)
{
    assert_int_equal(at(counts, text).hour, utc(begins) / HOUR);
}

static void test_hours_and_days_are_postgresqls_in_utc(void **state)
{
    (void)state;
    assert_bucket(USAGE_COUNTS_HOUR, "2026-11-30 23:59:59", "2026-11-30 23:00:00");
    assert_int_equal(at(USAGE_COUNTS_HOUR, "2026-11-30 23:59:59").until_us, 1001 * SECOND);
    assert_bucket(USAGE_COUNTS_HOUR, "2026-12-01 00:00:00", "2026-12-01 00:00:00");
    /* A leap second has the name of the next one. */
    assert_bucket(USAGE_COUNTS_HOUR, "2016-12-31 23:59:60", "2017-01-01 00:00:00");
    /* Hours that a zone has twice, or not at all, are hours as others here. */
    assert_bucket(USAGE_COUNTS_HOUR, "2026-10-25 00:30:00", "2026-10-25 00:00:00");
    assert_bucket(USAGE_COUNTS_HOUR, "2026-10-25 01:30:00", "2026-10-25 01:00:00");
    assert_bucket(USAGE_COUNTS_DAY, "2026-11-30 23:59:59", "2026-11-30 00:00:00");
    assert_bucket(USAGE_COUNTS_DAY, "2026-12-01 00:00:01", "2026-12-01 00:00:00");
    assert_bucket(USAGE_COUNTS_DAY, "2028-02-29 12:00:00", "2028-02-29 00:00:00");
}

static void test_without_postgresqls_clock_it_is_the_hosts(void **state)
{
    const struct pg_reading unknown = {0};
    struct count_bucket bucket =
        count_bucket_at(USAGE_COUNTS_HOUR, &unknown, 5, utc("2026-11-30 10:20:30"));

    (void)state;
    assert_int_equal(bucket.hour, utc("2026-11-30 10:00:00") / HOUR);
    /* A host whose clock is not set counts too. */
    assert_int_equal(count_bucket_at(USAGE_COUNTS_HOUR, &unknown, 5, 17).hour, 1);
    bucket = count_bucket_at(USAGE_COUNTS_OFF, &unknown, 5, utc("2026-11-30 10:20:30"));
    assert_int_equal(bucket.allow_tag, 0);
    assert_int_equal(bucket.until_us, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hours_and_days_are_postgresqls_in_utc),
        cmocka_unit_test(test_without_postgresqls_clock_it_is_the_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
