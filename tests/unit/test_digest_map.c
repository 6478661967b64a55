/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/digest_map.h>

enum { NODES = 1000 };

static void test_finds_what_was_added(void **state)
{
    static struct digest_node node[NODES];
    struct digest_map map;

    (void)state;
    assert_true(digest_map_init(&map, 16, 42)); /* long chains on purpose */
    for (size_t i = 0; i < NODES; i++) {
        node[i].digest = digest_number(i);
        assert_null(digest_map_find(&map, &node[i].digest));
        digest_map_add(&map, &node[i]);
    }
    assert_int_equal(map.count, NODES);
    for (size_t i = 0; i < NODES; i++)
        assert_ptr_equal(digest_map_find(&map, &(struct digest[]){digest_number(i)}[0]), &node[i]);
    for (size_t i = 0; i < NODES; i += 2)
        digest_map_remove(&map, &node[i]);
    for (size_t i = 0; i < NODES; i++) {
        struct digest digest = digest_number(i);

        assert_ptr_equal(digest_map_find(&map, &digest), i % 2 ? &node[i] : NULL);
    }
    assert_int_equal(map.count, NODES / 2);
    digest_map_done(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finds_what_was_added)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
