/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/http_reply.h>

static void expect(struct slice text, const char *value)
{
    struct buffer out = {0};

    buffer_text(&out, "X: ");
    http_reply_value(&out, text);
    buffer_append(&out, "", 1);
    assert_string_equal(out.data + 3, value);
    buffer_free(&out);
}

static void test_values(void **state)
{
    (void)state;
    expect(SLICE(""), "");
    expect(SLICE("gold"), "gold");
    expect(SLICE("read write, \"all\"; x=1"), "read write, \"all\"; x=1");
    expect(SLICE(" "), "%20");
    expect(SLICE("  a  "), "%20 a %20");
    expect(SLICE("50% off"), "50%25 off");
    expect(SLICE("a\r\nX-User-Id: b"), "a%0D%0AX-User-Id: b");
    expect(SLICE("\t\x1f\x7f"), "%09%1F%7F");
    expect(SLICE("Größe"), "Gr%C3%B6%C3%9Fe");
    expect((struct slice){"a\0b", 3}, "a%00b");
}

/* Every byte that is encoded is decoded to itself, and no other one looks like that. */
static void test_any_byte(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text[] = {'a', (char)byte, 'b'};
        struct buffer out = {0};
        unsigned decoded = (unsigned)byte;

        http_reply_value(&out, (struct slice){text, sizeof text});
        buffer_append(&out, "", 1);
        if (out.len == 3 + 2 + 1)
            assert_int_equal(sscanf(out.data, "a%%%2Xb", &decoded), 1);
        else
            assert_true(out.len == 3 + 1 && out.data[1] == text[1] && byte >= ' ' && byte < 0x7f &&
                        byte != '%');
        assert_int_equal(decoded, byte);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_any_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
