/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/freshness.h>
#include <apikeyd/model/watermarks.h>

static void test_a_floor_only_rises(void **state)
{
    static struct floors floors;
    struct digest one = digest_number(1);
    struct digest two = digest_number(2);

    (void)state;
    floors_init(&floors);
    assert_true(floors_get(&floors, &one) == TIME_NEVER);
    floors_raise(&floors, &one, 100);
    assert_int_equal(floors_get(&floors, &one), 100);
    assert_true(floors_get(&floors, &two) == TIME_NEVER);
    floors_raise(&floors, &one, 50);
    assert_int_equal(floors_get(&floors, &one), 100);
    floors_raise(&floors, &one, 101);
    assert_int_equal(floors_get(&floors, &one), 101);
}

/* Whatever shares its place, a key's own floor is never lower than it was raised to. */
static void test_no_key_loses_its_floor_to_others(void **state)
{
    enum { KEYS = 3 * FLOORS };
    static struct floors floors;

    (void)state;
    floors_init(&floors);
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key);

        floors_raise(&floors, &digest, (int64_t)(KEYS - key));
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key);

        assert_true(floors_get(&floors, &digest) >= (int64_t)(KEYS - key));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_floor_only_rises),
        cmocka_unit_test(test_no_key_loses_its_floor_to_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
