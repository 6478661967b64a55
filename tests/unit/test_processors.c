/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/thread/processors.h>

static void assert_printed(const struct processors *set, const char *expected)
{
    struct buffer text = {0};

    processors_print(set, &text);
    buffer_append(&text, "", 1);
    assert_string_equal(text.data, expected);
    buffer_free(&text);
}

static void test_sets(void **state)
{
    struct processors all = processors_all(), set = {0};

    (void)state;
    assert_printed(&all, "0-8191");
    assert_printed(&set, "none");
    assert_int_equal(processors_last(&all), 8191);
    assert_int_equal(processors_last(&set), -1);
    /* Ranges at both ends, of one and of several, and over the bounds of words. */
    for (int cpu = 0; cpu < OPTION_PROCESSORS; cpu++) {
        if (cpu != 0 && cpu != 2 && (cpu < 62 || cpu > 1025) && cpu < 8190)
            processors_remove(&all, cpu);
    }
    assert_printed(&all, "0,2,62-1025,8190-8191");
    assert_true(processors_have(&all, 1024) && !processors_have(&all, 1));
    struct processors only = processors_only(1024), common = processors_common(&all, &only);
    assert_true(processors_equal(&common, &only) && !processors_equal(&common, &all));
    only = processors_only(1);
    common = processors_common(&all, &only);
    assert_true(processors_equal(&common, &set));
}

/* A thread that is bound to one processor sees all that the process may use, and stays bound. */
static void test_usable(void **state)
{
    struct processors before, bound, usable;
    struct buffer why = {0};

    (void)state;
    assert_int_equal(processors_of(0, &before), 0);
    struct processors last = processors_only(processors_last(&before));
    assert_int_equal(processors_bind(0, &last), 0);
    assert_int_equal(processors_usable(&usable), 0);
    struct processors common = processors_common(&before, &usable);
    assert_true(processors_equal(&common, &before));
    assert_int_equal(processors_of(0, &bound), 0);
    assert_true(processors_equal(&bound, &last));
    assert_true(processors_may_use(processors_last(&usable), &why));
    assert_int_equal(why.len, 0);
    if (!processors_have(&usable, 8191)) {
        assert_false(processors_may_use(8191, &why));
        assert_true(why.len > 0);
    }
    buffer_free(&why);
    assert_int_equal(processors_bind(0, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sets), cmocka_unit_test(test_usable)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
