/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/http_chunked.h>

/* The body comes whole, and byte by byte: the outcome is the same. */
static enum http_parsed scan(struct slice body, struct http_chunked *ret)
{
    struct http_chunked pieces = {0};
    enum http_parsed whole, parsed = HTTP_INCOMPLETE;
    const char *why = NULL;

    *ret = (struct http_chunked){0};
    whole = http_chunked_scan(ret, body, &why);
    assert_true((whole == HTTP_BROKEN) == (why != NULL));
    for (size_t len = 0; len <= body.len && parsed == HTTP_INCOMPLETE; len++) {
        /* A copy of exact size: a read past the end is seen by ASan. */
        char *copy = malloc(len + 1);

        memcpy(copy, body.at, len);
        parsed = http_chunked_scan(&pieces, (struct slice){copy, len}, &why);
        free(copy);
        if (parsed == HTTP_INCOMPLETE)
            assert_true(pieces.wanted > len);
    }
    assert_int_equal(parsed, whole);
    return whole;
}

static void expect(struct slice body, const char *data)
{
    struct http_chunked found;
    struct buffer out = {0};

    assert_int_equal(scan(body, &found), HTTP_COMPLETE);
    assert_int_equal(found.at, body.len);
    assert_int_equal(found.data, strlen(data));
    http_chunked_data(body, &out);
    assert_int_equal(out.len, strlen(data));
    assert_memory_equal(buffer_held(&out).at, data, out.len);
    buffer_free(&out);
}

static void test_bodies(void **state)
{
    (void)state;
    expect(SLICE("0\r\n\r\n"), "");
    expect(SLICE("2\r\n{}\r\n0\r\n\r\n"), "{}");
    expect(SLICE("1\r\n{\r\n00001\r\n}\r\n000\r\n\r\n"), "{}");
    expect(SLICE("b;a=b\r\nhello world\r\n0;x\r\nField: value\r\nOther: \r\n\r\n"), "hello world");
    expect(SLICE("4\r\n\r\n\r\n\r\n0\r\n\r\n"), "\r\n\r\n");
    expect(SLICE("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"), "abcdefghijklmnopqrstuvwxyz");
}

static void test_what_is_broken(void **state)
{
    static const char *const broken[] = {
        "\r\n",     ";x\r\n",        "x\r\n",           "-1\r\n",      " 1\r\n",
        "0x1\r\n",  "1 \r\n",        "1\n{\n",          "1\r\n{}\r\n", "1\r\n{\n\n",
        "1\r{\r\n", "123456789\r\n", "1;a\rb\r\n{\r\n", "0\r\n\n",     "0\r\nF: v\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct http_chunked found;

        if (scan((struct slice){broken[i], strlen(broken[i])}, &found) != HTTP_BROKEN)
            fail_msg("case %zu", i);
    }
}

static void test_what_has_to_come(void **state)
{
    struct http_chunked found;
    char line[1100];

    (void)state;
    assert_int_equal(scan(SLICE(""), &found), HTTP_INCOMPLETE);
    assert_int_equal(scan(SLICE("ffffffff\r\n"), &found), HTTP_INCOMPLETE);
    assert_int_equal(found.wanted, 10 + UINT64_C(0xffffffff) + 2);
    assert_int_equal(found.due, UINT64_C(0xffffffff));
    assert_int_equal(scan(SLICE("0\r\nField: v\r\n"), &found), HTTP_INCOMPLETE);
    /* A line that does not end. */
    memset(line, '0', sizeof line);
    assert_int_equal(scan((struct slice){line, 1024}, &found), HTTP_INCOMPLETE);
    assert_int_equal(scan((struct slice){line, 1025}, &found), HTTP_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_what_is_broken),
        cmocka_unit_test(test_what_has_to_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
