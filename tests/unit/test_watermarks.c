/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "watermarks.h"

static void test_a_watermark_only_rises(void **state)
{
    static struct watermarks watermarks;
    struct digest one = digest_number(1);
    struct digest two = digest_number(2);

    (void)state;
    watermarks_init(&watermarks);
    assert_true(watermarks_get(&watermarks, &one) == TIME_NEVER);
    watermarks_raise(&watermarks, &one, 100);
    assert_int_equal(watermarks_get(&watermarks, &one), 100);
    assert_true(watermarks_get(&watermarks, &two) == TIME_NEVER);
    watermarks_raise(&watermarks, &one, 50);
    assert_int_equal(watermarks_get(&watermarks, &one), 100);
    watermarks_raise(&watermarks, &one, 101);
    assert_int_equal(watermarks_get(&watermarks, &one), 101);
}

/* Whatever shares its place, a key's own watermark is never lower than it was raised to. */
static void test_no_key_loses_its_watermark_to_others(void **state)
{
    enum { KEYS = 3 * WATERMARKS };
    static struct watermarks watermarks;

    (void)state;
    watermarks_init(&watermarks);
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key);

        watermarks_raise(&watermarks, &digest, (int64_t)(KEYS - key));
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key);

        assert_true(watermarks_get(&watermarks, &digest) >= (int64_t)(KEYS - key));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_watermark_only_rises),
        cmocka_unit_test(test_no_key_loses_its_watermark_to_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
