/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/config/redis_url.h>

static void test_forms(void **state)
{
    struct redis_url url;

    (void)state;
    assert_true(redis_url_parse("unix:///run/redis.sock", &url));
    assert_string_equal(url.path, "/run/redis.sock");
    assert_int_equal(url.db, 0);
    assert_true(redis_url_parse("unix:///run/redis.sock?db=3", &url));
    assert_int_equal(url.db, 3);
    assert_true(redis_url_parse("redis://example", &url));
    assert_string_equal(url.host[0].name, "example");
    assert_string_equal(url.path, "");
    assert_int_equal(url.host[0].port, 6379);
    assert_true(redis_url_parse("redis://me@example:7000/2", &url));
    assert_string_equal(url.user, "me");
    assert_int_equal(url.host[0].port, 7000);
    assert_int_equal(url.db, 2);
    assert_true(redis_url_parse("redis://[::1]:7000/", &url));
    assert_string_equal(url.host[0].name, "::1");
    assert_int_equal(url.host[0].port, 7000);
    assert_true(redis_url_parse("redis://[::1]", &url));
    assert_int_equal(url.host[0].port, 6379);
    assert_false(url.tls);
    assert_true(redis_url_parse("rediss://me:secret@example/2", &url));
    assert_true(url.tls);
    assert_string_equal(url.host[0].name, "example");
    assert_string_equal(url.password, "secret");
    assert_int_equal(url.host[0].port, 6379);
    assert_int_equal(url.db, 2);
}

static void test_logins(void **state)
{
    struct redis_url url;

    (void)state;
    assert_true(redis_url_parse("redis://:secret@host:6379/0", &url));
    assert_string_equal(url.user, "");
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.host[0].name, "host");
    assert_true(redis_url_parse("redis://me%40home:a%3ab%2Fc%25:d@[::1]:7/1", &url));
    assert_string_equal(url.user, "me@home");
    assert_string_equal(url.password, "a:b/c%:d");
    assert_string_equal(url.host[0].name, "::1");
    assert_int_equal(url.host[0].port, 7);
    assert_int_equal(url.db, 1);
    assert_true(redis_url_parse("unix://me:secret@/run/a@b.sock?db=2", &url));
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.path, "/run/a@b.sock");
    assert_int_equal(url.db, 2);
    assert_true(redis_url_parse("redis://@host", &url));
    assert_string_equal(url.user, "");
}

static void test_sentinels(void **state)
{
    struct redis_url url;

    (void)state;
    assert_true(redis_url_parse("redis+sentinel://a,[::1]:7,b:8/my.master-1_x?db=2", &url));
    assert_int_equal(url.hosts, 3);
    assert_string_equal(url.host[0].name, "a");
    assert_int_equal(url.host[0].port, 26379);
    assert_string_equal(url.host[1].name, "::1");
    assert_int_equal(url.host[1].port, 7);
    assert_string_equal(url.host[2].name, "b");
    assert_int_equal(url.host[2].port, 8);
    assert_string_equal(url.master, "my.master-1_x");
    assert_int_equal(url.db, 2);
    assert_false(url.tls);
    assert_true(redis_url_parse("rediss+sentinel://me:secret@a/m", &url));
    assert_true(url.tls);
    assert_string_equal(url.user, "me");
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.master, "m");
    assert_true(redis_url_parse("redis+sentinel://a,b,c,d,e,f,g,h/m", &url));
    assert_int_equal(url.hosts, REDIS_URL_HOSTS_MAX);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "http://x",
                                      "unix://relative",
                                      "unix:///a?x=1",
                                      "redis://",
                                      "redis://u:a@b@host",
                                      "redis://u:a/b@host",
                                      "redis://:%@host",
                                      "redis://:%4@host",
                                      "redis://:%zz@host",
                                      "redis://:%00@host",
                                      "redis://host:0",
                                      "redis://host:",
                                      "redis://host:70000000000000",
                                      "redis://:6379",
                                      "redis://[]",
                                      "redis://host/1x",
                                      "rediss://",
                                      "rediss:///run/redis.sock",
                                      "redis://host?db=1",
                                      "redis://a b",
                                      "redis://host:port",
                                      "redis://host:70000",
                                      "redis://host/x",
                                      "redis://[::1",
                                      "redis://[::1]x",
                                      "redis+sentinel://",
                                      "redis+sentinel:///m",
                                      "redis+sentinel://a",
                                      "redis+sentinel://a/",
                                      "redis+sentinel://a,/m",
                                      "redis+sentinel://,a/m",
                                      "redis+sentinel://a:/m",
                                      "redis+sentinel://a/m/1",
                                      "redis+sentinel://a/m?db=",
                                      "redis+sentinel://a/m?x=1",
                                      "redis+sentinel://a/m@b",
                                      "redis+sentinel://a,b,c,d,e,f,g,h,i/m",
                                      "unix+sentinel://a/m"};
    struct redis_url url;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(redis_url_parse(bad[i], &url));
        assert_non_null(redis_url_wrong(bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_sentinels),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
