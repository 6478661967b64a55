/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include "apikeyd/config.h"
#include "apikeyd/log.h"
#include "apikeyd/option.h"

static struct config *load(const char *text, struct buffer *errors)
{
    FILE *file = fopen("test.conf", "w");

    fputs(text, file);
    fclose(file);
    return config_load("test.conf", errors);
}

static void expect_error(const char *text, const char *expected)
{
    struct buffer errors = {0};

    assert_null(load(text, &errors));
    buffer_append(&errors, "", 1);
    assert_string_equal(errors.data, expected);
    buffer_free(&errors);
}

static void test_defaults(void **state)
{
    struct buffer errors = {0};
    struct config *config = config_load(NULL, &errors);

    (void)state;
    assert_int_equal(errors.len, 0);
    assert_int_equal(config->cache_memory, 64 << 20);
    assert_int_equal(config->cache_ttl, 60 * 1000000);
    assert_int_equal(config->cache_stale_max, 300 * 1000000);
    assert_int_equal(config->redis_timeout, 20000);
    assert_int_equal(config->listen_check_mode, 0660);
    assert_string_equal(config->postgres_table, "api.user_api_key");
    assert_true(config->usage_touch_updated_at);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    config_free(config);
}

static void test_values(void **state)
{
    struct buffer errors = {0};
    struct config *config = load("# a comment\n"
                                 "[cache]\n"
                                 "ttl = 2m   ; another\n"
                                 "memory=1GiB\n"
                                 "stale_max = 0\n"
                                 "[listen]\n"
                                 "allow_uids = 33, 1000\n"
                                 "check_mode = 0600\n"
                                 "[usage]\n"
                                 "touch_updated_at = no\n"
                                 "[log]\n"
                                 "level = debug\n"
                                 "[postgres]\n"
                                 "dsn = host=/run user=x dbname=y\n",
                                 &errors);

    (void)state;
    assert_non_null(config);
    assert_int_equal(config->cache_ttl, 120 * 1000000);
    assert_int_equal(config->cache_memory, 1 << 30);
    assert_int_equal(config->cache_stale_max, 0);
    assert_int_equal(config->listen_allow_uids.len, 2);
    assert_int_equal(config->listen_allow_uids.id[1], 1000);
    assert_int_equal(config->listen_check_mode, 0600);
    assert_false(config->usage_touch_updated_at);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(config->postgres_dsn, "host=/run user=x dbname=y");
    config_free(config);
}

static void test_errors_name_the_place_and_the_cure(void **state)
{
    (void)state;
    expect_error("[redis]\n\ntimeout = 20\n",
                 "test.conf:3: redis.timeout \"20\": a duration needs a unit: us, ms, s, m or h "
                 "(20ms)\n");
    expect_error("[redis]\ntimeout = 1h\n",
                 "test.conf:2: redis.timeout \"1h\": it must be from 1ms to 10s\n");
    expect_error("[cache]\nmemory = 64MB\n",
                 "test.conf:2: cache.memory \"64MB\": a size needs a unit: B, KiB, MiB or GiB "
                 "(64MiB)\n");
    expect_error("[cache]\nmemory = 99999999999GiB\n",
                 "test.conf:2: cache.memory \"99999999999GiB\": a smaller number is needed\n");
    expect_error("[cache]\ntll = 1s\n", "test.conf:2: cache.tll: there is no such option; "
                                        "apikeyd --sample-config lists them all\n");
    expect_error("[log]\nlevel = loud\n", "test.conf:2: log.level \"loud\": it must be one of: "
                                          "error, warning, info, debug\n");
    expect_error("[postgres]\nconnections = 0\n",
                 "test.conf:2: postgres.connections \"0\": it must be from 1 to 64\n");
    expect_error("[postgres]\ntable = a;drop table b\n",
                 "test.conf:2: postgres.table \"a;drop table b\": an SQL name of letters, digits "
                 "and _ is needed (api.user_api_key)\n");
    expect_error("[usage]\ntouch_updated_at = maybe\n",
                 "test.conf:2: usage.touch_updated_at \"maybe\": yes or no is needed\n");
    expect_error("[listen]\nallow_uids = www-data\n",
                 "test.conf:2: listen.allow_uids \"www-data\": numeric IDs with commas in between "
                 "are needed (33,1000)\n");
    expect_error("[cache]\nttl = 10s\n  negative_ttl = 5s\n",
                 "test.conf:3: the line is indented; start options in the first column\n");
    expect_error("[cache]\nttl\n", "test.conf:2: expected [section] or option = value\n");
    expect_error("[redis]\nurl = http://x\n",
                 "redis.url \"http://x\": expected unix:///path or redis://host:port/db, or "
                 "nothing\n");
}

static void test_every_error_is_told(void **state)
{
    (void)state;
    expect_error("[cache]\nttl = 1\nnegative_ttl = 2\n",
                 "test.conf:2: cache.ttl \"1\": a duration needs a unit: us, ms, s, m or h (20ms)\n"
                 "test.conf:3: cache.negative_ttl \"2\": a duration needs a unit: us, ms, s, m or "
                 "h (20ms)\n");
}

static void test_long_lines_are_refused(void **state)
{
    struct buffer errors = {0};
    char text[512] = "[postgres]\ndsn = ";

    (void)state;
    memset(text + strlen(text), 'a', 300);
    assert_null(load(text, &errors));
    assert_true(strncmp(errors.data, "test.conf:2: the line is longer than", 36) == 0);
    buffer_free(&errors);
}

static void test_environment_overrides(void **state)
{
    struct buffer errors = {0};

    (void)state;
    setenv("APIKEYD_CACHE_TTL", "7s", 1);
    struct config *config = load("[cache]\nttl = 2m\n", &errors);
    assert_int_equal(config->cache_ttl, 7 * 1000000);
    config_free(config);
    setenv("APIKEYD_CACHE_TTL", "7", 1);
    expect_error("", "APIKEYD_CACHE_TTL \"7\": a duration needs a unit: us, ms, s, m or h "
                     "(20ms)\n");
    unsetenv("APIKEYD_CACHE_TTL");
}

static void collect(void *arg, const char *name, const char *value)
{
    buffer_printf(arg, "%s=%s\n", name, value);
}

static void test_glob_and_copy(void **state)
{
    struct buffer errors = {0}, listed = {0};
    struct config *config = load("[listen]\nallow_gids=5,6\n[cache]\nttl=90s\n"
                                 "[postgres]\ndsn=user=a password=secret host=x\n",
                                 &errors);
    struct config *copy = config_copy(config);

    (void)state;
    config_free(config);
    config_each(copy, "*.allow_*", collect, &listed);
    config_each(copy, "cache.ttl", collect, &listed);
    config_each(copy, "postgres.dsn", collect, &listed); /* a password is not shown */
    buffer_append(&listed, "", 1);
    assert_string_equal(listed.data, "listen.allow_uids=\nlisten.allow_gids=5,6\ncache.ttl=90s\n"
                                     "postgres.dsn=user=a password=***\n");
    assert_string_equal(copy->postgres_dsn, "user=a password=secret host=x");
    buffer_free(&listed);
    config_free(copy);
}

static void test_no_password_is_shown(void **state)
{
    static const struct {
        const char *dsn, *shown;
    } cases[] = {
        {"host=a user=b", "host=a user=b"},
        {"user=a password = 'x y' host=b", "user=a password=***"},
        {"host=a sslpassword=x", "host=a sslpassword=***"},
        {"postgres://u:secret@h/db", "postgres://u:***@h/db"},
        {"postgres://u:mypassword1@h/db?sslpassword=x", "postgres://u:***@h/db?sslpassword=***"},
        {"postgres://h/db?user=u&password=x", "postgres://h/db?user=u&password=***"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer errors = {0}, listed = {0};
        char text[256], expected[256];

        snprintf(text, sizeof text, "[postgres]\ndsn = %s\n", cases[i].dsn);
        snprintf(expected, sizeof expected, "postgres.dsn=%s\n", cases[i].shown);
        struct config *config = load(text, &errors);
        config_each(config, "postgres.dsn", collect, &listed);
        buffer_append(&listed, "", 1);
        assert_string_equal(listed.data, expected);
        buffer_free(&listed);
        config_free(config);
    }
}

static void test_reload_keeps_what_needs_a_restart(void **state)
{
    struct buffer errors = {0}, restart = {0};
    struct config *running = load("[cache]\nttl=10s\nmemory=1MiB\n", &errors);
    struct config *next = load("[cache]\nttl=20s\nmemory=2MiB\n", &errors);

    (void)state;
    config_keep_fixed(next, running, &restart);
    buffer_append(&restart, "", 1);
    assert_string_equal(restart.data, "cache.memory\n");
    assert_int_equal(next->cache_memory, 1 << 20);
    assert_int_equal(next->cache_ttl, 20 * 1000000);
    buffer_free(&restart);
    config_free(running);
    config_free(next);
}

/* A copy and a reload rest on this: what is printed is read as the same value. */
static void test_printed_values_are_read_back(void **state)
{
    struct buffer errors = {0};
    struct config *config = config_load(NULL, &errors);

    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        struct buffer first = {0}, second = {0};
        char scratch[256];

        option_print(&option_table[i], config, &first);
        buffer_append(&first, "", 1);
        assert_null(option_parse(&option_table[i], first.data, config, scratch, sizeof scratch));
        option_print(&option_table[i], config, &second);
        buffer_append(&second, "", 1);
        assert_string_equal(first.data, second.data);
        buffer_free(&first);
        buffer_free(&second);
    }
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_values, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_errors_name_the_place_and_the_cure, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_every_error_is_told, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_long_lines_are_refused, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_environment_overrides, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_glob_and_copy, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_no_password_is_shown, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_reload_keeps_what_needs_a_restart, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_printed_values_are_read_back, scratch_make,
                                        scratch_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
