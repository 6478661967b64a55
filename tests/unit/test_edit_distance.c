/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/base/edit_distance.h>

static void test_distances(void **state)
{
    char long_word[65];

    (void)state;
    assert_int_equal(edit_distance("", ""), 0);
    assert_int_equal(edit_distance("ttl", "ttl"), 0);
    assert_int_equal(edit_distance("tll", "ttl"), 1);
    assert_int_equal(edit_distance("tlt", "ttl"), 1);
    assert_int_equal(edit_distance("tt", "ttl"), 1);
    assert_int_equal(edit_distance("ttls", "ttl"), 1);
    assert_int_equal(edit_distance("", "ttl"), 3);
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    assert_int_equal(edit_distance("port", "url"), 3);
    memset(long_word, 'a', 64);
    long_word[64] = '\0';
    assert_int_equal(edit_distance(long_word, long_word), EDIT_DISTANCE_FAR);
    assert_int_equal(edit_distance(long_word + 1, long_word + 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distances)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
