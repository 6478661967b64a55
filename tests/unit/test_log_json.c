/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <jansson.h>

#include "log_json.h"

static char out[LOG_JSON_SIZE];

/* A reader of JSON takes what was encoded, which is one line. */
static json_t *encoded(enum log_level level, const char *line)
{
    struct log_record record = {
        .at_us = INT64_C(1796054407123456),
        .level = level,
        .place = {"daemon/postgres/pg_pool.c", "pool_new", 12},
        .line = line,
    };
    size_t len = log_json_encode(&record, out);
    json_error_t error;

    assert_in_range(len, 2, sizeof out);
    assert_ptr_equal(memchr(out, '\n', len), out + len - 1);
    json_t *object = json_loadb(out, len, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s: %.*s", error.text, (int)len, out);
    return object;
}

static void assert_member(const json_t *object, const char *name, const char *value)
{
    assert_string_equal(json_string_value(json_object_get(object, name)), value);
}

static void assert_message(const char *line, const char *message)
{
    json_t *object = encoded(LOG_LEVEL_INFO, line);

    assert_member(object, "message", message);
    json_decref(object);
}

static void test_members(void **state)
{
    json_t *object = encoded(LOG_LEVEL_WARNING, "postgres (lookups): no answer");

    (void)state;
    assert_member(object, "time", "2026-11-30T16:00:07.123456Z");
    assert_member(object, "level", "warning");
    assert_member(object, "subsystem", "postgres");
    assert_member(object, "message", "postgres (lookups): no answer");
    assert_member(object, "module", "pg_pool");
    assert_member(object, "file", "daemon/postgres/pg_pool.c");
    assert_member(object, "function", "pool_new");
    assert_int_equal(json_integer_value(json_object_get(object, "line")), 12);
    assert_int_equal(json_object_size(object), 8);
    json_decref(object);
}

static void test_any_bytes(void **state)
{
    (void)state;
    assert_message("", "");
    assert_message("a \"b\" \\ /", "a \"b\" \\ /");
    assert_message("\x01\t\r\n\x1b[31m\x7f", "\x01\t\r\n\x1b[31m\x7f");
    assert_message("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91",
                   "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91");
    /* Stray, overlong, a surrogate, and a character that was cut. */
    assert_message("\x80 \xc0\xaf \xed\xa0\x80 \xe2\x82",
                   "\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd "
                   "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd");
}

static size_t message_len(char filler)
{
    char line[LOG_LINE_SIZE];

    memset(line, filler, sizeof line - 1);
    line[sizeof line - 1] = '\0';
    json_t *object = encoded(LOG_LEVEL_ERROR, line);
    size_t len = json_string_length(json_object_get(object, "message"));
    assert_member(object, "function", "pool_new");
    json_decref(object);
    return len;
}

/* A line of characters that grow has room for its place all the same. */
static void test_a_long_message_is_cut(void **state)
{
    (void)state;
    assert_int_equal(message_len('x'), LOG_LINE_SIZE - 1);
    assert_int_equal(message_len('\xff'), 3 * (LOG_LINE_SIZE - 1));
    assert_in_range(message_len('\x01'), LOG_LINE_SIZE / 2, LOG_LINE_SIZE - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_a_long_message_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
