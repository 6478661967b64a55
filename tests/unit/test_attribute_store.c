/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "attribute_store.h"

enum { HOLDERS = 2000, BYTES = 64 * 1024 };

/* What a holder was given last, beside the store. */
struct given {
    char text[ATTRIBUTES_LEN_MAX];
    size_t len;
    uint16_t mark;
};

static struct given *given;
static size_t spared, evicted;

static uint32_t random_number(uint32_t below)
{
    static uint64_t seed = 88172645463325252;

    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 16) % below);
}

static void assert_holds(const struct attribute_store *store, uint32_t holder)
{
    struct attributes held = attribute_store_get(store, holder);

    assert_int_equal(held.len, given[holder].len);
    if (held.len > 0)
        assert_memory_equal(held.at, given[holder].text, held.len);
}

static void make_room(struct attribute_store *store, size_t len, uint32_t spare_one_in)
{
    struct attribute_block block;

    while (attribute_store_crowded(store, len, &block)) {
        assert_in_range(block.holder, 0, HOLDERS - 1);
        assert_holds(store, block.holder);
        assert_int_equal(block.mark, given[block.holder].mark);
        if (spare_one_in > 0 && random_number(spare_one_in) == 0) {
            attribute_store_spare(store, ++given[block.holder].mark);
            spared++;
        } else {
            attribute_store_remove(store, block.holder);
            given[block.holder].len = 0;
            evicted++;
        }
    }
}

static void put(struct attribute_store *store, uint32_t holder, size_t len, uint32_t spare_one_in)
{
    char text[ATTRIBUTES_LEN_MAX];
    struct attributes attributes = {text, len};

    memset(text, (int)('0' + random_number(64)), len);
    if (!attribute_store_replace(store, holder, attributes)) {
        attribute_store_remove(store, holder);
        given[holder].len = 0;
        make_room(store, len, spare_one_in);
        attribute_store_put(store, holder, attributes, ++given[holder].mark);
    }
    memcpy(given[holder].text, text, len);
    given[holder].len = len;
}

/* Every holder has what it was given last, or nothing if it was evicted, whatever came between. */
static void test_agrees_with_a_plain_table(void **state)
{
    struct attribute_store *store = attribute_store_new(BYTES);

    (void)state;
    given = calloc(HOLDERS, sizeof *given);
    for (int step = 0; step < 60000; step++) {
        uint32_t holder = random_number(HOLDERS);
        size_t long_len = 1 + random_number(ATTRIBUTES_LEN_MAX), short_len = 1 + long_len % 60;

        if (random_number(4) == 0) {
            attribute_store_remove(store, holder);
            given[holder].len = 0;
        } else if (given[holder].len == 0 || random_number(2) == 0) {
            put(store, holder, random_number(8) == 0 ? long_len : short_len, 3);
        }
        assert_holds(store, holder);
        assert_holds(store, random_number(HOLDERS));
    }
    assert_true(spared > 100 && evicted > 100);
    for (uint32_t holder = 0; holder < HOLDERS; holder++) {
        assert_holds(store, holder);
        attribute_store_remove(store, holder);
        assert_int_equal(attribute_store_get(store, holder).len, 0);
    }
    assert_int_equal(attribute_store_stats(store).used, 0);
    attribute_store_free(store);
    free(given);
}

/* A region holds most of what it could, in blocks of one size. */
static void test_room_is_used(void **state)
{
    struct attribute_store *store = attribute_store_new(BYTES);
    uint32_t held = 0;

    (void)state;
    given = calloc(HOLDERS, sizeof *given);
    for (uint32_t holder = 0; holder < HOLDERS; holder++)
        put(store, holder, 200, 0);
    for (uint32_t holder = 0; holder < HOLDERS; holder++)
        held += attribute_store_get(store, holder).len > 0;
    assert_true(held > BYTES * 9 / 10 / 224);
    assert_int_equal(attribute_store_stats(store).used, held * 224);
    assert_int_equal(attribute_store_stats(store).bytes, BYTES);
    assert_int_equal(attribute_store_get(store, HOLDERS - 1).len, 200);
    attribute_store_free(store);
    free(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_a_plain_table),
        cmocka_unit_test(test_room_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
