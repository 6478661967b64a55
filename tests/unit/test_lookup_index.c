/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "lookup_index.h"

enum { COUNT = 1000 };

static struct lookup *make_lookups(const char *form)
{
    struct lookup *lookups = calloc(COUNT, sizeof *lookups);

    for (int i = 0; i < COUNT; i++)
        lookups[i].request.key_len =
            (uint8_t)snprintf(lookups[i].request.key, sizeof lookups[i].request.key, form, i);
    return lookups;
}

static void fill(struct lookup_index *index, struct lookup *lookups)
{
    lookup_index_reset(index, COUNT);
    for (int i = 0; i < COUNT; i++)
        lookup_index_add(index, &lookups[i], lookup_key(&lookups[i]));
}

/* Keys that differ in their first bytes, in their last, or in their length only. */
static void test_finds_each_and_nothing_else(void **state)
{
    const char *const forms[] = {"%d-and-a-long-end-that-they-share", "a-beginning-to-share-%06d",
                                 "%d"};
    struct lookup_index index = {0};

    (void)state;
    for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
        struct lookup *lookups = make_lookups(forms[form]);

        fill(&index, lookups);
        for (int i = 0; i < COUNT; i++) {
            size_t place = 0;

            assert_ptr_equal(lookup_index_next(&index, lookup_key(&lookups[i]), &place),
                             &lookups[i]);
            assert_null(lookup_index_next(&index, lookup_key(&lookups[i]), &place));
        }
        size_t place = 0;
        assert_null(lookup_index_next(&index, SLICE("none of them"), &place));
        free(lookups);
    }
    lookup_index_free(&index);
}

static void test_two_that_ask_for_one_key(void **state)
{
    struct lookup *lookups = make_lookups("key");
    struct lookup_index index = {0};
    size_t place = 0;
    int found = 0;

    (void)state;
    fill(&index, lookups);
    while (lookup_index_next(&index, SLICE("key"), &place))
        found++;
    assert_int_equal(found, COUNT);
    lookup_index_reset(&index, 1);
    place = 0;
    assert_null(lookup_index_next(&index, SLICE("key"), &place));
    lookup_index_free(&index);
    free(lookups);
}

/* Keys like those that people make must not crowd: a search stays short. */
static void test_searches_are_short(void **state)
{
    struct lookup *lookups = make_lookups("key:%012d");
    struct lookup_index index = {0};
    size_t steps = 0;

    (void)state;
    fill(&index, lookups);
    for (int i = 0; i < COUNT; i++) {
        size_t place = 0;

        (void)lookup_index_next(&index, lookup_key(&lookups[i]), &place);
        size_t found = place;
        while (index.slot[(place - 1) & (index.slots - 1)].lookup)
            place++;
        steps += place - found + 1;
    }
    assert_true(steps < 4 * COUNT);
    lookup_index_free(&index);
    free(lookups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_each_and_nothing_else),
        cmocka_unit_test(test_two_that_ask_for_one_key),
        cmocka_unit_test(test_searches_are_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
