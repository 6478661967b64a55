/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/buffer.h>

static void test_bytes_leave_in_order(void **state)
{
    struct buffer buffer = {0};
    unsigned next_in = 0, next_out = 0;

    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        for (unsigned i = 0; i < round % 37; i++, next_in++)
            buffer_append(&buffer, &(unsigned char){(unsigned char)next_in}, 1);
        while (buffer.len > round % 11) {
            assert_int_equal((unsigned char)buffer_held(&buffer).at[0], (unsigned char)next_out++);
            buffer_consume(&buffer, 1);
        }
    }
    buffer_free(&buffer);
}

static void test_printf_appends(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    buffer_append(&buffer, "a", 1);
    buffer_printf(&buffer, "%0300d", 7);
    assert_int_equal(buffer.len, 301);
    assert_int_equal(buffer.data[300], '7');
    buffer_free(&buffer);
}

static void test_room_is_used_again(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    buffer_append(&buffer, "0123456789", 10);
    size_t cap = buffer.cap;
    for (int i = 0; i < 1000; i++) {
        buffer_append(&buffer, "0123456789", 10);
        buffer_consume(&buffer, 10);
    }
    assert_int_equal(buffer.cap, cap);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_leave_in_order),
        cmocka_unit_test(test_printf_appends),
        cmocka_unit_test(test_room_is_used_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
