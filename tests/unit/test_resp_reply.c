/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/resp_reply.h>

static void expect(struct buffer *out, const char *text)
{
    struct slice held = buffer_held(out);

    assert_int_equal(held.len, strlen(text));
    assert_memory_equal(held.at, text, held.len);
    buffer_free(out);
}

static void test_simple_types(void **state)
{
    struct buffer out = {0};

    (void)state;
    resp_simple(&out, "PONG");
    resp_integer(&out, -5);
    resp_text(&out, "hi");
    resp_array(&out, 2);
    expect(&out, "+PONG\r\n:-5\r\n$2\r\nhi\r\n*2\r\n");
}

static void test_types_of_each_version(void **state)
{
    struct buffer out = {0};

    (void)state;
    for (int resp3 = 0; resp3 < 2; resp3++) {
        resp_null(&out, resp3);
        resp_set(&out, 2, resp3);
        resp_map(&out, 3, resp3);
        resp_verbatim(&out, (struct slice){"a\r\nb", 4}, resp3);
        expect(&out, resp3 ? "_\r\n~2\r\n%3\r\n=8\r\ntxt:a\r\nb\r\n"
                           : "$-1\r\n*2\r\n*6\r\n$4\r\na\r\nb\r\n");
    }
}

static void test_times(void **state)
{
    struct buffer out = {0};

    (void)state;
    resp_time(&out, 1700000000000042);
    resp_time(&out, 0);
    expect(&out, "$27\r\n2023-11-14T22:13:20.000042Z\r\n$4\r\nnone\r\n");
}

static void test_errors_stay_on_one_line(void **state)
{
    struct buffer out = {0};

    (void)state;
    resp_error(&out, "ERR %s", "a\r\n+OK\tb");
    expect(&out, "-ERR a  +OK b\r\n");
}

static void test_verdicts(void **state)
{
    struct verdict verdict = {.kind = VERDICT_ALLOW};
    struct buffer out = {0};

    (void)state;
    assert_true(uuid_from_text("00112233-4455-6677-8899-aabbccddeeff", &verdict.api_key_id.head));
    assert_true(uuid_from_text("ffeeddcc-bbaa-9988-7766-554433221100", &verdict.user_id.head));
    resp_verdict(&out, &verdict, NULL);
    expect(&out, "*3\r\n$5\r\nALLOW\r\n$36\r\n00112233-4455-6677-8899-aabbccddeeff\r\n"
                 "$36\r\nffeeddcc-bbaa-9988-7766-554433221100\r\n");
    verdict.id_type = ID_BIGINT;
    row_id_from_bigint(7, &verdict.api_key_id);
    row_id_from_bigint(INT64_MIN, &verdict.user_id);
    resp_verdict(&out, &verdict, NULL);
    expect(&out, "*3\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$20\r\n-9223372036854775808\r\n");
    verdict.id_type = ID_TEXT;
    assert_true(row_id_from_text(SLICE("k_1"), ID_TEXT, &verdict.api_key_id));
    assert_true(
        row_id_from_text(SLICE("012345678901234567890123456789abcdef"), ID_TEXT, &verdict.user_id));
    resp_verdict(&out, &verdict, NULL);
    expect(&out, "*3\r\n$5\r\nALLOW\r\n$3\r\nk_1\r\n"
                 "$36\r\n012345678901234567890123456789abcdef\r\n");
    resp_verdict(&out, &(struct verdict){.kind = VERDICT_DENY_UNKNOWN}, NULL);
    expect(&out, "*2\r\n$4\r\nDENY\r\n$7\r\nunknown\r\n");
    resp_verdict(&out, &(struct verdict){.kind = VERDICT_DENY_INACTIVE}, NULL);
    expect(&out, "*2\r\n$4\r\nDENY\r\n$8\r\ninactive\r\n");
    resp_verdict(&out, &verdict_unavailable, "deadline");
    expect(&out, "-UNAVAILABLE deadline\r\n");
}

static void test_attributes(void **state)
{
    static const char *const replies[] = {
        "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n*4\r\n$4\r\nplan\r\n$4\r\ngold\r\n"
        "$6\r\nscopes\r\n$10\r\nread write\r\n",
        "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n%2\r\n$4\r\nplan\r\n$4\r\ngold\r\n"
        "$6\r\nscopes\r\n$10\r\nread write\r\n"};
    static const char text[] = "a04goldb0aread write";
    struct attribute_columns columns = {.len = 2, .column = {{.name = "plan"}, {.name = "scopes"}}};
    struct verdict verdict = {.kind = VERDICT_ALLOW, .id_type = ID_BIGINT};
    struct buffer out = {0};

    (void)state;
    row_id_from_bigint(7, &verdict.api_key_id);
    row_id_from_bigint(8, &verdict.user_id);
    for (int resp3 = 0; resp3 < 2; resp3++) {
        verdict.attributes = (struct attributes){text, sizeof text - 1};
        resp_verdict_attributes(&out, &verdict, NULL, &columns, false, resp3);
        expect(&out, replies[resp3]);
        verdict.attributes.len = 8;
        resp_verdict_attributes(&out, &verdict, NULL, &columns, true, resp3);
        expect(&out,
               resp3
                   ? "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n%2\r\n$10\r\nover_quota\r\n$4\r\n"
                     "true\r\n$4\r\nplan\r\n$4\r\ngold\r\n"
                   : "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n*4\r\n$10\r\nover_quota\r\n$4\r\n"
                     "true\r\n$4\r\nplan\r\n$4\r\ngold\r\n");
        verdict.attributes.len = 0;
        resp_verdict_attributes(&out, &verdict, NULL, &columns, false, resp3);
        expect(&out, resp3 ? "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n%0\r\n"
                           : "*4\r\n$5\r\nALLOW\r\n$1\r\n7\r\n$1\r\n8\r\n*0\r\n");
        resp_verdict_attributes(&out, &(struct verdict){.kind = VERDICT_DENY_UNKNOWN}, NULL,
                                &columns, true, resp3);
        expect(&out, "*2\r\n$4\r\nDENY\r\n$7\r\nunknown\r\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_types), cmocka_unit_test(test_types_of_each_version),
        cmocka_unit_test(test_times),        cmocka_unit_test(test_errors_stay_on_one_line),
        cmocka_unit_test(test_verdicts),     cmocka_unit_test(test_attributes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
