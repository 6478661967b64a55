/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/resp_request.h>

enum { MAX_REQUEST = 512 };

static enum resp_status parse(struct slice input, struct resp_request *request, size_t *consumed)
{
    /* A copy of exact size: a read past the end is seen by valgrind and ASan. */
    char *copy = malloc(input.len + 1);
    const char *why = NULL;
    enum resp_status status;

    memcpy(copy, input.at, input.len);
    status =
        resp_request_parse((struct slice){copy, input.len}, MAX_REQUEST, request, consumed, &why);
    assert_true((status == RESP_BROKEN) == (why != NULL));
    for (size_t i = 0; status == RESP_COMPLETE && i < request->argc; i++)
        request->argv[i].at = input.at + (request->argv[i].at - copy);
    free(copy);
    return status;
}

static void expect_args(struct slice input, size_t argc, const char *const *argv)
{
    struct resp_request request;
    size_t consumed;

    assert_int_equal(parse(input, &request, &consumed), RESP_COMPLETE);
    assert_int_equal(consumed, input.len);
    assert_int_equal(request.argc, argc);
    for (size_t i = 0; i < argc; i++) {
        assert_int_equal(request.argv[i].len, strlen(argv[i]));
        assert_memory_equal(request.argv[i].at, argv[i], request.argv[i].len);
    }
    /* Cut anywhere, it is the start of a request and nothing else. */
    for (size_t len = 0; len < input.len; len++)
        assert_int_equal(parse((struct slice){input.at, len}, &request, &consumed),
                         RESP_INCOMPLETE);
}

static void test_arrays(void **state)
{
    (void)state;
    expect_args(SLICE("*2\r\n$5\r\nCHECK\r\n$3\r\na\r\n\r\n"), 2,
                (const char *const[]){"CHECK", "a\r\n"});
    expect_args(SLICE("*1\r\n$0\r\n\r\n"), 1, (const char *const[]){""});
    expect_args(SLICE("*0\r\n"), 0, NULL);
    expect_args(SLICE("*-1\r\n"), 0, NULL);
}

static void test_inline(void **state)
{
    (void)state;
    expect_args(SLICE("CHECK abc\r\n"), 2, (const char *const[]){"CHECK", "abc"});
    expect_args(SLICE("  CHECK \t abc  \n"), 2, (const char *const[]){"CHECK", "abc"});
    expect_args(SLICE("\r\n"), 0, NULL);
}

static void test_takes_one_request_at_a_time(void **state)
{
    struct slice input = SLICE("PING\r\n*1\r\n$4\r\nPING\r\n");
    struct resp_request request;
    size_t consumed;

    (void)state;
    assert_int_equal(parse(input, &request, &consumed), RESP_COMPLETE);
    assert_int_equal(consumed, 6);
}

static void test_broken_streams(void **state)
{
    static const char *const broken[] = {"*1000000000\r\n",
                                         "*33\r\n",
                                         "*x\r\n",
                                         "*-2\r\n",
                                         "*1\r\n:5\r\n",
                                         "*1\r\n$-1\r\n",
                                         "*1\r\n$x\r\n",
                                         "*1\r\n$600\r\n",
                                         "*1\r\n$1\r\nabc",
                                         "*1\rx",
                                         "*11111111111111111111111111111111111",
                                         "*1\r\n$99999999999999999999999999999999999999"};
    char many[400];
    struct resp_request request;
    size_t consumed;

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_int_equal(parse((struct slice){broken[i], strlen(broken[i])}, &request, &consumed),
                         RESP_BROKEN);
    for (size_t i = 0; i < sizeof many; i += 2)
        memcpy(many + i, "a ", 2);
    many[sizeof many - 1] = '\n';
    assert_int_equal(parse((struct slice){many, sizeof many}, &request, &consumed), RESP_BROKEN);
}

static void test_length_is_bounded(void **state)
{
    char line[MAX_REQUEST + 1];
    struct resp_request request;
    size_t consumed;

    (void)state;
    memset(line, 'a', sizeof line);
    assert_int_equal(parse((struct slice){line, MAX_REQUEST}, &request, &consumed),
                     RESP_INCOMPLETE);
    assert_int_equal(parse((struct slice){line, MAX_REQUEST + 1}, &request, &consumed),
                     RESP_BROKEN);
    line[MAX_REQUEST] = '\n';
    assert_int_equal(parse((struct slice){line, MAX_REQUEST + 1}, &request, &consumed),
                     RESP_BROKEN);
}

/* What the short way takes, the parser takes alike; what it leaves alone is not wrong. */
static void short_way(size_t len, bool with_attributes)
{
    static const char last[] = "\r\n$10\r\nATTRIBUTES\r\n";
    char text[400];
    size_t head = (size_t)snprintf(text, sizeof text, "*%d\r\n$5\r\nCHECK\r\n$%zu\r\n",
                                   with_attributes ? 3 : 2, len);
    size_t tail = with_attributes ? sizeof last - 1 : 2;
    struct slice whole = {text, head + len + tail};
    struct resp_request request;
    struct slice key;
    const char *why;
    size_t consumed;

    memset(text + head, 'k', len);
    memcpy(text + head + len, last, tail);
    size_t (*check)(struct slice, struct slice *) =
        with_attributes ? resp_request_check_attributes : resp_request_check;
    size_t taken = check(whole, &key);
    assert_int_equal(taken, len >= 1 && len <= 255 ? whole.len : 0);
    if (taken > 0) {
        assert_int_equal(resp_request_parse(whole, 512, &request, &consumed, &why), RESP_COMPLETE);
        assert_int_equal(consumed, taken);
        assert_ptr_equal(request.argv[1].at, key.at);
        assert_int_equal(request.argv[1].len, key.len);
        assert_int_equal(resp_request_asks_attributes(text), with_attributes);
        assert_int_equal(request.argc, with_attributes ? 3 : 2);
    }
    for (size_t cut = 0; cut < whole.len; cut++)
        assert_int_equal(check((struct slice){text, cut}, &key), 0);
}

static void test_the_short_way_agrees_with_the_parser(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 300; len++) {
        short_way(len, false);
        short_way(len, true);
    }
}

static void test_the_short_way_leaves_others_alone(void **state)
{
    static const char *const others[] = {
        "*2\r\n$5\r\ncheck\r\n$3\r\nabc\r\n",
        "*4\r\n$5\r\nCHECK\r\n$3\r\nabc\r\n$6\r\nWITHIN\r\n$1\r\n5\r\n",
        "CHECK abcdefghijklmnopqrstuvwxyz\r\n",
        "*2\r\n$5\r\nCHECK\r\n$-1\r\nabcdefghi\r\n",
        "*2\r\n$5\r\nCHECK\r\n$3x\r\nabcdefghi\r\n",
        "*2\r\n$5\r\nCHECK\r\n$0003\r\nabc\r\n",
        "*2\r\n$5\r\nCHECK\r\n$3\r\nabcd\r\n\r\n",
        "*2\r\n$5\r\nCHECK\r\n$3\n\nabc\r\n\r\n",
        "*2\r\n$4\r\nECHO\r\n$10\r\nabcdefghij\r\n",
        "*3\r\n$5\r\nCHECK\r\n$3\r\nabc\r\n$10\r\nattributes\r\n",
        "*3\r\n$5\r\nCHECK\r\n$3\r\nabc\r\n$11\r\nATTRIBUTES\r\n",
        "*3\r\n$5\r\nCHECK\r\n$3\r\nabc\r\n",
    };
    struct slice key;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct slice other = {others[i], strlen(others[i])};

        assert_int_equal(resp_request_check(other, &key), 0);
        assert_int_equal(resp_request_check_attributes(other, &key), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_takes_one_request_at_a_time),
        cmocka_unit_test(test_broken_streams),
        cmocka_unit_test(test_length_is_bounded),
        cmocka_unit_test(test_the_short_way_agrees_with_the_parser),
        cmocka_unit_test(test_the_short_way_leaves_others_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
