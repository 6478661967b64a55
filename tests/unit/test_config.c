/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <apikeyd/base/log.h>
#include <apikeyd/config/config_draft.h>
#include <apikeyd/config/config_load.h>
#include <apikeyd/config/option.h>

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

/* What config_draft_deprecated() says of test.conf and the environment. */
static void expect_deprecated(const char *text, int64_t soft_timeout_us, const char *expected)
{
    struct buffer errors = {0}, told = {0};
    struct config_draft draft;
    FILE *file = fopen("test.conf", "w");

    fputs(text, file);
    fclose(file);
    assert_int_equal(config_draft_open(&draft, "test.conf", &errors), 0);
    config_draft_deprecated(&draft, &told);
    buffer_append(&told, "", 1);
    assert_string_equal(told.data, expected);
    assert_int_equal(draft.config->postgres_soft_timeout, soft_timeout_us);
    config_free(config_draft_close(&draft));
    buffer_free(&told);
    assert_int_equal(errors.len, 0);
}

/* For a release an option is taken by its deprecated name too. */
static void test_deprecated_names(void **state)
{
    (void)state;
    expect_deprecated("[postgres]\nsoft_timeout = 70ms\n", 70000, "");
    expect_deprecated("[postgres]\npatience = 70ms\n", 70000,
                      "test.conf:2: postgres.patience is deprecated; its name is "
                      "postgres.soft_timeout now\n");
    setenv("APIKEYD_POSTGRES_PATIENCE", "80ms", 1);
    expect_deprecated("", 80000,
                      "APIKEYD_POSTGRES_PATIENCE is deprecated; its name is "
                      "APIKEYD_POSTGRES_SOFT_TIMEOUT now\n");
    /* The environment overrides the file, whatever name each of them uses. */
    expect_deprecated("[postgres]\nsoft_timeout = 70ms\n", 80000,
                      "APIKEYD_POSTGRES_PATIENCE is deprecated; its name is "
                      "APIKEYD_POSTGRES_SOFT_TIMEOUT now\n");
    unsetenv("APIKEYD_POSTGRES_PATIENCE");
    setenv("APIKEYD_POSTGRES_SOFT_TIMEOUT", "90ms", 1);
    expect_deprecated("[postgres]\npatience = 70ms\n", 90000,
                      "test.conf:2: postgres.patience is deprecated; its name is "
                      "postgres.soft_timeout now\n");
    unsetenv("APIKEYD_POSTGRES_SOFT_TIMEOUT");
}

/* Nobody can tell which one was meant. */
static void test_both_names_are_an_error_that_names_both(void **state)
{
    (void)state;
    expect_error("[postgres]\npatience = 70ms\nsoft_timeout = 70ms\n",
                 "test.conf:3: postgres.soft_timeout: line 2 sets it already as "
                 "postgres.patience; one of them has to go\n");
    expect_error("[postgres]\nsoft_timeout = 70ms\npatience = 70ms\n",
                 "test.conf:3: postgres.patience: line 2 sets it already as "
                 "postgres.soft_timeout; one of them has to go\n");
    expect_error("[postgres]\npatience = 70ms\npatience = 70ms\n",
                 "test.conf:3: postgres.patience: line 2 sets it already; one of them has to go\n");
    setenv("APIKEYD_POSTGRES_PATIENCE", "80ms", 1);
    setenv("APIKEYD_POSTGRES_SOFT_TIMEOUT", "80ms", 1);
    expect_error("", "APIKEYD_POSTGRES_PATIENCE: APIKEYD_POSTGRES_SOFT_TIMEOUT sets it already; "
                     "one of them has to go\n");
    unsetenv("APIKEYD_POSTGRES_SOFT_TIMEOUT");
    setenv("APIKEYD_POSTGRES_PATIENCE", "80", 1);
    /* A mistake is shown under the name that was given. */
    expect_error("", "APIKEYD_POSTGRES_PATIENCE: postgres.patience \"80\": a duration needs a "
                     "unit: us, ms, s, m, h or d (20ms)\n");
    unsetenv("APIKEYD_POSTGRES_PATIENCE");
    expect_error("[postgres]\npatience = 70\n",
                 "test.conf:2: postgres.patience \"70\": a duration needs a unit: us, ms, s, m, "
                 "h or d (20ms)\n");
}

static void join_names(void *arg, const char *name, const char *value)
{
    buffer_printf(arg, "%s=%s ", name, value);
}

static void expect_names(const struct config *config, const char *glob, const char *expected)
{
    struct buffer names = {0};

    config_each(config, glob, join_names, &names);
    buffer_append(&names, "", 1);
    assert_string_equal(names.data, expected);
    buffer_free(&names);
}

/* CONFIG GET finds an option by either name, and shows it once. */
static void test_get_by_a_deprecated_name(void **state)
{
    struct buffer errors = {0};
    struct config *config = load("", &errors);

    (void)state;
    assert_non_null(config);
    expect_names(config, "postgres.soft_timeout", "postgres.soft_timeout=50ms ");
    expect_names(config, "postgres.patience", "postgres.patience=50ms ");
    expect_names(config, "*p*tie*", "postgres.patience=50ms ");
    expect_names(config, "postgres.[ps]*t*i*e*", "postgres.soft_timeout=50ms ");
    config_free(config);
}

/* A value by the deprecated name has another form; errors show it as it was given. */
static void test_a_deprecated_form(void **state)
{
    struct buffer errors = {0};
    struct config *config = load("[http]\nkey_header = X-Key\n", &errors);

    (void)state;
    assert_non_null(config);
    assert_int_equal(config->http_key_from.len, 1);
    assert_int_equal(config->http_key_from.source[0].kind, KEY_IN_HEADER);
    assert_string_equal(config->http_key_from.source[0].name, "X-Key");
    expect_names(config, "http.key_from", "http.key_from=header:X-Key ");
    expect_names(config, "http.key_header", "http.key_header=X-Key ");
    config_free(config);
    expect_deprecated("[postgres]\nsoft_timeout = 1ms\n[http]\nkey_header = X\n", 1000,
                      "test.conf:4: http.key_header is deprecated; its name is http.key_from now, "
                      "where the value starts with header:\n");
    expect_error("[http]\nkey_header = X Key\n",
                 "test.conf:2: http.key_header \"X Key\": the name of an HTTP header is needed "
                 "(header:X-API-Key)\n");
    expect_error("[http]\nkey_from = X-Key\n",
                 "test.conf:2: http.key_from \"X-Key\": it is a list of at most 8 of: header:NAME, "
                 "bearer, basic-user, query:NAME, query:NAME@HEADER, cookie:NAME\n");
}

static void test_errors_name_the_place_and_the_cure(void **state)
{
    (void)state;
    expect_error("[redis]\n\ntimeout = 20\n",
                 "test.conf:3: redis.timeout \"20\": a duration needs a unit: us, ms, s, m, h or d "
                 "(20ms)\n");
    expect_error("[redis]\ntimeout = 1h\n",
                 "test.conf:2: redis.timeout \"1h\": it must be from 1ms to 10s\n");
    expect_error("[cache]\nmemory = 64MB\n",
                 "test.conf:2: cache.memory \"64MB\": a size needs a unit: B, KiB, MiB or GiB "
                 "(64MiB)\n");
    expect_error("[cache]\nmemory = 99999999999GiB\n",
                 "test.conf:2: cache.memory \"99999999999GiB\": a smaller number is needed\n");
    expect_error("[cache]\ntll = 1s\n",
                 "test.conf:2: cache.tll: there is no such option; did you mean "
                 "cache.ttl?\n");
    expect_error("[cache]\nprefix = x\n", "test.conf:2: cache.prefix: there is no such option; did "
                                          "you mean keys.prefix?\n");
    expect_error("[cache]\ncolour = x\n", "test.conf:2: cache.colour: there is no such option; "
                                          "apikeyd --sample-config lists them all\n");
    expect_error("[chace]\nttl = 5\n",
                 "test.conf:1: [chace]: there is no such section; did you mean [cache]?\n");
    expect_error("ttl = 5s\n", "test.conf:1: a [section] is needed before the first option\n");
    expect_error("[cache\n", "test.conf:1: a section's name ends with \"]\"\n");
    expect_error("[cache] ttl = 5s\n", "test.conf:1: a section's name stands alone in its line\n");
    expect_error("[cache]\nttl = 5s\n[redis]\n[cache]\nttl = 6s\n",
                 "test.conf:5: cache.ttl: line 2 sets it already; one of them has to go\n");
    expect_error("[log]\nlevel = loud\n", "test.conf:2: log.level \"loud\": it must be one of: "
                                          "error, warning, info, debug\n");
    expect_error("[postgres]\nconnections = 0\n",
                 "test.conf:2: postgres.connections \"0\": it must be from 1 to 64\n");
    expect_error("[postgres]\ntable = a.b.c\n",
                 "test.conf:2: postgres.table \"a.b.c\": a table's name in UTF-8, of at most 63 "
                 "bytes and without dots, is needed, with or without a schema "
                 "(api.user_api_key)\n");
    expect_error("[usage]\ntouch_updated_at = maybe\n",
                 "test.conf:2: usage.touch_updated_at \"maybe\": yes or no is needed\n");
    expect_error("[listen]\nallow_uids = www-data\n",
                 "test.conf:2: listen.allow_uids \"www-data\": numeric IDs with commas in between "
                 "are needed (33,1000)\n");
    expect_error(
        "[cache]\nttl = 10s\n  negative_ttl = 5s\n",
        "test.conf:3: the line is indented; sections and options start in the first column\n");
    expect_error("[cache]\nttl\n", "test.conf:2: [section] or option = value is needed\n");
    expect_error("[redis]\nurl = http://x\n",
                 "test.conf:2: redis.url \"http://x\": unix:///path[?db=N] or "
                 "redis://[[user]:password@]host[:port][/db], by TLS rediss://, is needed\n");
}

static void test_every_error_is_told(void **state)
{
    (void)state;
    expect_error(
        "[cache]\nttl = 1\nnegative_ttl = 2\n",
        "test.conf:2: cache.ttl \"1\": a duration needs a unit: us, ms, s, m, h or d (20ms)\n"
        "test.conf:3: cache.negative_ttl \"2\": a duration needs a unit: us, ms, s, m, "
        "h or d (20ms)\n");
}

/* What stands in a file stays below 16 KiB a line. Longer than what was cut once: 200 bytes. */
static void test_long_lines(void **state)
{
    struct buffer errors = {0};
    char text[17000] = "[postgres]\ndsn = ";
    size_t len = strlen(text);

    (void)state;
    memset(text + len, 'a', 15000);
    struct config *config = load(text, &errors);
    assert_non_null(config);
    assert_int_equal(strlen(config->postgres_dsn), 15000);
    config_free(config);
    memset(text + len, 'a', 16900 - len);
    expect_error(text, "test.conf:2: the line is longer than 16384 bytes\n");
}

static void test_what_is_no_text(void **state)
{
    static const char nul[] = "[cache]\nttl = 5s\0 or so\nmemory = 1\n";
    struct buffer errors = {0};
    FILE *file = fopen("test.conf", "w");

    (void)state;
    fwrite(nul, 1, sizeof nul - 1, file);
    fclose(file);
    assert_null(config_load("test.conf", &errors));
    buffer_append(&errors, "", 1);
    assert_string_equal(errors.data,
                        "test.conf:2: the line holds a NUL byte; text is needed\n"
                        "test.conf:3: cache.memory \"1\": a size needs a unit: B, KiB, MiB or GiB "
                        "(64MiB)\n");
    buffer_free(&errors);
    assert_null(config_load(".", &errors));
    buffer_append(&errors, "", 1);
    assert_string_equal(errors.data, ".: the configuration cannot be read: Is a directory\n");
    buffer_free(&errors);
    expect_error("[listen]\ncheck_group = a\033[2Jb\n",
                 "test.conf:2: listen.check_group \"a\\x1b[2Jb\": control characters are not "
                 "taken\n");
    /* The mark and the line ends that some editors make. */
    struct config *config = load("\xef\xbb\xbf[cache]\r\nttl = 7s\r\n", &errors);
    assert_int_equal(config->cache_ttl, 7000000);
    config_free(config);
}

/* For a program that needs one option of a file that the daemon would refuse. */
static void test_what_is_sound(void **state)
{
    struct buffer errors = {0};
    struct config *config;

    (void)state;
    assert_null(load("[listen]\nadmin = /x/admin\n[cache]\nttl = 5\n[nonsense]\n", &errors));
    errors.len = 0;
    config = config_load_sound("test.conf", &errors);
    assert_non_null(config);
    assert_string_equal(config->listen_admin, "/x/admin");
    assert_int_equal(config->cache_ttl, 60000000);
    assert_true(errors.len > 0);
    config_free(config);
    errors.len = 0;
    assert_null(config_load_sound("none.conf", &errors));
    buffer_free(&errors);
}

static void test_options_together(void **state)
{
    (void)state;
    expect_error("[listen]\ncheck = /x/a\nadmin = /x//./a\n",
                 "test.conf:3: listen.admin \"/x//./a\": listen.check (test.conf:2) is the same; "
                 "give each its own\n");
    expect_error(
        "[listen]\nhttp = 127.0.0.1:9464\n",
        "listen.metrics \"127.0.0.1:9464\" (the default): listen.http (test.conf:2) is the "
        "same; give each its own\n");
    expect_error("[postgres]\nkey_transform = hmac-sha256\n",
                 "test.conf:2: postgres.key_transform \"hmac-sha256\": "
                 "postgres.key_transform_secret_file is needed with it\n");
    /* One error is told once, and takes none of what rests on it along. */
    expect_error("[postgres]\nkey_transform = hmac-sha256\nkey_transform_secret_file = ./x\n",
                 "test.conf:3: postgres.key_transform_secret_file: an absolute path, or the "
                 "name of a credential without any /, is needed\n");
    expect_error("[redis]\nurl = redis://:secret@h\npassword_file = /x\n",
                 "test.conf:3: redis.password_file \"/x\": redis.url holds a password already; one "
                 "of them has to go\n");
}

static void test_errors_name_no_password(void **state)
{
    static const char *const urls[] = {
        "redis://:hunter2@h:x", "redis://u:hunter2@h/x",    "rediss://:hunter2@h:x",
        "redis:/:hunter2@h",    "redis//u:hunter2@h:6379",  ":hunter2@h:6379",
        "redis://:a@hunter2@h", "redis://:a/hunter2@h:1/0", "redis://h/0?password=hunter2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct buffer errors = {0};
        char text[256];

        snprintf(text, sizeof text, "[redis]\nurl = %s\n", urls[i]);
        assert_null(load(text, &errors));
        buffer_append(&errors, "", 1);
        assert_null(strstr(errors.data, "hunter2"));
        assert_non_null(strstr(errors.data, "***"));
        buffer_free(&errors);
    }
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
    expect_error(
        "", "APIKEYD_CACHE_TTL: cache.ttl \"7\": a duration needs a unit: us, ms, s, m, h or d "
            "(20ms)\n");
    unsetenv("APIKEYD_CACHE_TTL");
    setenv("APIKEYD_CACHE_TLL", "7s", 1);
    expect_error("", "APIKEYD_CACHE_TLL: there is no such option; did you mean "
                     "APIKEYD_CACHE_TTL?\n");
    unsetenv("APIKEYD_CACHE_TLL");
    setenv("APIKEYD_REDIS_PORT", "tcp://10.0.0.1:6379", 1); /* as Kubernetes gives them */
    struct config *other = load("", &errors);
    assert_non_null(other);
    config_free(other);
    unsetenv("APIKEYD_REDIS_PORT");
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
        cmocka_unit_test_setup_teardown(test_deprecated_names, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_deprecated_form, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_both_names_are_an_error_that_names_both, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_get_by_a_deprecated_name, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_errors_name_the_place_and_the_cure, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_every_error_is_told, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_long_lines, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_what_is_no_text, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_what_is_sound, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_options_together, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_errors_name_no_password, scratch_make, scratch_remove),
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
