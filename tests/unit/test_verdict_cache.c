/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/verdict_cache.h>

#define SECOND INT64_C(1000000)

enum { WAYS = 32, ONE_SET = WAYS * (64 + 1) };

static const struct verdict_form uuids = {.id_type = ID_UUID};

static const struct freshness_policy policy = {.ttl_us = 60 * SECOND,
                                               .ttl_unlinked_us = 5 * SECOND,
                                               .negative_ttl_us = 30 * SECOND,
                                               .stale_max_us = 300 * SECOND};

static struct freshness_limits at(int64_t now_us)
{
    struct freshness_inputs linked = {.confirmed_us = now_us, .watermark_us = TIME_NEVER};

    return freshness_limits_at(&policy, &linked, now_us);
}

static void put(struct verdict_cache *cache, uint64_t key, enum verdict_kind kind,
                int64_t read_at_us)
{
    struct digest digest = digest_number(key);
    struct freshness_limits limits = at(read_at_us);
    struct verdict verdict = {
        .kind = kind, .api_key_id = id_number(key), .read_at_us = read_at_us, .rows = 1};

    verdict_cache_put(cache, &digest, &verdict, &limits);
}

static const struct cached_verdict *get(struct verdict_cache *cache, uint64_t key, int64_t now_us)
{
    struct digest digest = digest_number(key);
    struct freshness_limits limits = at(now_us);

    return verdict_cache_get(cache, &digest, &limits);
}

static void test_holds_until_the_ttl(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(65536, 65536, uuids, 7);

    (void)state;
    put(cache, 1, VERDICT_ALLOW, 100 * SECOND);
    put(cache, 2, VERDICT_DENY_UNKNOWN, 100 * SECOND);
    assert_int_equal(get(cache, 1, 160 * SECOND)->kind, VERDICT_ALLOW);
    assert_null(get(cache, 1, 160 * SECOND + 1));
    assert_int_equal(get(cache, 2, 130 * SECOND)->kind, VERDICT_DENY_UNKNOWN);
    assert_null(get(cache, 2, 130 * SECOND + 1));
    assert_null(get(cache, 3, 100 * SECOND));
    assert_non_null(verdict_cache_peek(cache, &(struct digest[]){digest_number(1)}[0]));
    verdict_cache_free(cache);
}

static void test_an_older_read_never_wins(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(65536, 65536, uuids, 7);

    (void)state;
    put(cache, 1, VERDICT_DENY_INACTIVE, 100 * SECOND);
    put(cache, 1, VERDICT_ALLOW, 99 * SECOND);
    assert_int_equal(get(cache, 1, 100 * SECOND)->kind, VERDICT_DENY_INACTIVE);
    put(cache, 1, VERDICT_DENY_UNKNOWN, 98 * SECOND); /* nor from the other table */
    assert_int_equal(get(cache, 1, 100 * SECOND)->kind, VERDICT_DENY_INACTIVE);
    put(cache, 1, VERDICT_DENY_UNKNOWN, 101 * SECOND);
    assert_int_equal(get(cache, 1, 101 * SECOND)->kind, VERDICT_DENY_UNKNOWN);
    put(cache, 1, VERDICT_ALLOW, 102 * SECOND);
    assert_int_equal(get(cache, 1, 102 * SECOND)->kind, VERDICT_ALLOW);
    assert_int_equal(verdict_cache_negative_stats(cache).used, 0);
    assert_int_equal(verdict_cache_stats(cache).used, 1);
    verdict_cache_free(cache);
}

static void test_a_refresh_keeps_the_usage_slot(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(65536, 65536, uuids, 7);
    struct digest digest = digest_number(1);

    (void)state;
    put(cache, 1, VERDICT_ALLOW, 100 * SECOND);
    verdict_cache_peek(cache, &digest)->usage_slot = 42;
    verdict_cache_peek(cache, &digest)->flags |= CACHED_REFRESHING;
    put(cache, 1, VERDICT_ALLOW, 101 * SECOND);
    assert_int_equal(verdict_cache_peek(cache, &digest)->usage_slot, 42);
    assert_int_equal(verdict_cache_peek(cache, &digest)->flags, 0);
    verdict_cache_free(cache);
}

static void test_unknown_keys_evict_only_each_other(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(65536, 4096, uuids, 7);

    (void)state;
    for (uint64_t key = 0; key < 200; key++)
        put(cache, key, VERDICT_ALLOW, 100 * SECOND);
    for (uint64_t key = 1000; key < 101000; key++)
        put(cache, key, VERDICT_DENY_UNKNOWN, 100 * SECOND);
    for (uint64_t key = 0; key < 200; key++)
        assert_non_null(get(cache, key, 101 * SECOND));
    assert_int_equal(verdict_cache_stats(cache).evictions, 0);
    assert_int_equal(verdict_cache_negative_stats(cache).used, 32);
    assert_true(verdict_cache_negative_stats(cache).evictions > 99000);
    verdict_cache_free(cache);
}

/* One set: what goes is expired, else unused for longest. */
static void test_the_least_useful_goes(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(ONE_SET, ONE_SET, uuids, 7);

    (void)state;
    for (uint64_t key = 0; key < WAYS; key++)
        put(cache, key, VERDICT_ALLOW, (100 + (int64_t)key % 8) * SECOND);
    for (uint64_t key = 0; key < WAYS; key++)
        assert_non_null(get(cache, key, (key == 5 ? 110 : 120) * SECOND));
    put(cache, WAYS, VERDICT_ALLOW, 130 * SECOND);
    assert_null(get(cache, 5, 130 * SECOND));
    for (uint64_t key = 0; key <= WAYS; key++)
        assert_true(key == 5 || get(cache, key, 130 * SECOND));
    /* At 165 s, those of 100 s to 104 s have expired: they go before anything unused. */
    put(cache, WAYS + 1, VERDICT_ALLOW, 165 * SECOND);
    for (uint64_t key = 0; key <= WAYS; key++)
        assert_true(key % 8 < 5 || key == 5 || get(cache, key, 165 * SECOND));
    assert_non_null(get(cache, WAYS, 165 * SECOND));
    assert_int_equal(verdict_cache_stats(cache).evictions, 1);
    verdict_cache_free(cache);
}

static void test_remove_and_clear(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(65536, 65536, uuids, 7);
    struct digest one = digest_number(1);

    (void)state;
    put(cache, 1, VERDICT_ALLOW, 100 * SECOND);
    put(cache, 2, VERDICT_DENY_UNKNOWN, 100 * SECOND);
    verdict_cache_remove(cache, &one);
    verdict_cache_remove(cache, &one);
    assert_null(get(cache, 1, 100 * SECOND));
    assert_non_null(get(cache, 2, 100 * SECOND));
    verdict_cache_free(cache);
}

/* As many sets as fit, and what they take is told with their tags. One set is the minimum. */
static void test_takes_what_it_is_given_and_tells_it(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes < 5 * ONE_SET; bytes += 13) {
        struct verdict_cache *cache = verdict_cache_new(bytes, 9 * ONE_SET, uuids, 7);
        struct verdict_cache_stats stats = verdict_cache_stats(cache);
        size_t sets = bytes < ONE_SET ? 1 : bytes / ONE_SET;

        assert_int_equal(stats.bytes, sets * ONE_SET);
        assert_int_equal(stats.slots, sets * WAYS);
        assert_int_equal(verdict_cache_negative_stats(cache).bytes, 9 * ONE_SET);
        verdict_cache_free(cache);
    }
}

static void test_a_table_nearly_full_keeps_nearly_all(void **state)
{
    enum { SLOTS = 1 << 16, KEYS = SLOTS * 95 / 100 };
    struct verdict_cache *cache = verdict_cache_new(65 * SLOTS, 4096, uuids, 7);
    size_t held = 0;

    (void)state;
    for (uint64_t key = 0; key < KEYS; key++)
        put(cache, key, VERDICT_ALLOW, 100 * SECOND);
    for (uint64_t key = 0; key < KEYS; key++)
        held += get(cache, key, 100 * SECOND) != NULL;
    assert_int_equal(verdict_cache_stats(cache).slots, SLOTS);
    assert_true(held > KEYS * 975 / 1000);
    assert_int_equal(held, verdict_cache_stats(cache).used);
    verdict_cache_free(cache);
}

/* Many keys share a tag; none may be taken for another, and no slot be lost. */
static void test_agrees_with_a_plain_table(void **state)
{
    enum { KEYS = 600 };
    struct verdict_cache *cache = verdict_cache_new(100 * ONE_SET, 100 * ONE_SET, uuids, 7);
    enum verdict_kind plain[KEYS] = {0};
    uint64_t random = 12345;

    (void)state;
    for (int step = 1; step < 200000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t key = (random >> 33) % KEYS;
        struct digest digest = digest_number(key);
        const struct cached_verdict *cached = verdict_cache_peek(cache, &digest);

        assert_int_equal(cached ? cached->kind : VERDICT_UNAVAILABLE, plain[key]);
        plain[key] = (random >> 60) % 4;
        if (plain[key] == VERDICT_UNAVAILABLE)
            verdict_cache_remove(cache, &digest);
        else
            put(cache, key, plain[key], 100 * SECOND);
    }
    size_t count = 0;
    for (int key = 0; key < KEYS; key++)
        count += plain[key] != VERDICT_UNAVAILABLE;
    assert_int_equal(verdict_cache_stats(cache).used + verdict_cache_negative_stats(cache).used,
                     count);
    verdict_cache_free(cache);
}

/* Its digest lies in the slot yet; no pair of tags may make it a match. */
static void test_what_is_removed_is_gone(void **state)
{
    enum { KEYS = 1000 };
    struct verdict_cache *cache = verdict_cache_new(ONE_SET, ONE_SET, uuids, 7);

    (void)state;
    for (uint64_t one = 0; one < KEYS; one++) {
        struct digest digest = digest_number(one);

        put(cache, one, VERDICT_ALLOW, 100 * SECOND);
        for (uint64_t other = one + 1; other < KEYS; other++) {
            struct digest removed = digest_number(other);

            put(cache, other, VERDICT_ALLOW, 100 * SECOND);
            verdict_cache_remove(cache, &removed);
            assert_null(verdict_cache_peek(cache, &removed));
        }
        verdict_cache_remove(cache, &digest);
    }
    verdict_cache_free(cache);
}

/* An old verdict may still be served stale: it does not make way where there is room. */
static void test_an_empty_slot_comes_before_an_old_verdict(void **state)
{
    struct verdict_cache *cache = verdict_cache_new(ONE_SET, ONE_SET, uuids, 7);

    (void)state;
    for (uint64_t key = 1; key < WAYS; key++)
        put(cache, key, VERDICT_ALLOW, 100 * SECOND);
    put(cache, WAYS, VERDICT_ALLOW, 200 * SECOND);
    for (uint64_t key = 1; key <= WAYS; key++)
        assert_non_null(verdict_cache_peek(cache, &(struct digest[]){digest_number(key)}[0]));
    /* Now it is full: one that is not fresh goes, not the one that is new. */
    put(cache, WAYS + 1, VERDICT_ALLOW, 201 * SECOND);
    assert_non_null(get(cache, WAYS, 201 * SECOND));
    assert_non_null(get(cache, WAYS + 1, 201 * SECOND));
    verdict_cache_free(cache);
}

/* Of every field that a verdict has, or gets one day, beside others of its kind. */
static void test_a_slot_holds_all_of_a_verdict(void **state)
{
    enum { KEYS = 200 };

    (void)state;
    for (enum id_type type = ID_UUID; type <= ID_TEXT; type++) {
        struct verdict_cache *cache =
            verdict_cache_new(65536, 65536, (struct verdict_form){type, true, 65536}, 7);
        struct verdict verdict = verdict_of_all_fields(type);
        struct freshness_limits limits = at(100 * SECOND);
        struct verdict_cache_stats stats = verdict_cache_stats(cache);

        assert_int_equal(stats.bytes / stats.slots, type == ID_TEXT ? 145 : 81);
        for (uint64_t key = 0; key < KEYS; key++) {
            struct digest digest = digest_number(key), denied = digest_number(KEYS + key);

            verdict.user_id.head.bytes[1] = (uint8_t)key;
            verdict_cache_put(cache, &digest, &verdict, &limits);
            verdict_cache_put(cache, &denied, &(struct verdict){.kind = VERDICT_DENY_UNKNOWN},
                              &limits);
        }
        for (uint64_t key = 0; key < KEYS; key++) {
            struct digest digest = digest_number(key);
            struct verdict held = verdict_cache_verdict(cache, verdict_cache_peek(cache, &digest));

            verdict.user_id.head.bytes[1] = (uint8_t)key;
            assert_verdict_equal(&held, &verdict);
        }
        verdict_cache_free(cache);
    }
}

/* A slot has had a key with a window before. */
static void test_no_key_takes_over_a_window(void **state)
{
    struct verdict_cache *cache =
        verdict_cache_new(ONE_SET, ONE_SET, (struct verdict_form){.windows = true}, 7);
    struct freshness_limits limits = at(100 * SECOND);

    (void)state;
    for (uint64_t key = 0; key < 200; key++) {
        struct digest digest = digest_number(key);
        struct verdict verdict = {.kind = VERDICT_ALLOW, .read_at_us = 100 * SECOND};

        if (key % 2 == 0)
            verdict.window = (struct key_window){1, (int64_t)key + 2};
        verdict_cache_put(cache, &digest, &verdict, &limits);
        const struct cached_verdict *slot = verdict_cache_peek(cache, &digest);
        struct verdict held = verdict_cache_verdict(cache, slot);
        assert_memory_equal(&held.window, &verdict.window, sizeof held.window);
        assert_int_equal((slot->flags & CACHED_WINDOW) != 0, key % 2 == 0);
    }
    verdict_cache_free(cache);
}

/* A region for attributes that is much smaller than what the table's keys have. */
static void test_a_verdict_lives_no_longer_than_its_attributes(void **state)
{
    enum { KEYS = 1000, PLAIN = 100 };
    struct verdict_cache *cache =
        verdict_cache_new(4 << 20, 65536, (struct verdict_form){.attribute_bytes = 65536}, 7);
    struct freshness_limits limits = at(100 * SECOND);
    size_t held = 0;

    (void)state;
    assert_int_equal(verdict_cache_stats(cache).bytes / verdict_cache_stats(cache).slots, 65);
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key), first = digest_number(0);
        char text[256];
        struct verdict verdict = {.kind = VERDICT_ALLOW, .read_at_us = 100 * SECOND};

        if (key % (KEYS / PLAIN) != 5) {
            snprintf(text, sizeof text, "ac8%0200d", (int)key);
            verdict.attributes = (struct attributes){text, 203};
        }
        verdict_cache_put(cache, &digest, &verdict, &limits);
        limits = at(100 * SECOND + (int64_t)key * SECOND / 50);
        assert_non_null(
            verdict_cache_get(cache, &first, &limits)); /* used all the time: it stays */
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        struct digest digest = digest_number(key);
        const struct cached_verdict *slot = verdict_cache_peek(cache, &digest);
        char text[256];

        snprintf(text, sizeof text, "ac8%0200d", (int)key);
        if (key % (KEYS / PLAIN) == 5) {
            assert_int_equal(verdict_cache_attributes(cache, slot).len, 0);
            continue;
        }
        held += slot != NULL;
        if (slot)
            assert_memory_equal(verdict_cache_attributes(cache, slot).at, text, 203);
    }
    assert_in_range(held, 200, 290);
    assert_int_equal(verdict_cache_stats(cache).used, held + PLAIN);
    assert_int_equal(verdict_cache_stats(cache).attribute_evictions, KEYS - PLAIN - held);
    assert_int_equal(verdict_cache_stats(cache).evictions, 0);
    verdict_cache_free(cache);
}

/* With other attributes, with none, as another verdict, and in a slot that was another key's. */
static void test_no_key_takes_over_attributes(void **state)
{
    struct verdict_cache *cache =
        verdict_cache_new(ONE_SET, ONE_SET, (struct verdict_form){.attribute_bytes = 65536}, 7);

    (void)state;
    for (uint64_t step = 0; step < 20000; step++) {
        struct digest digest = digest_number(step * 7919 % 200);
        struct freshness_limits limits = at(100 * SECOND + (int64_t)step);
        size_t len = step * 31 % 250;
        char text[256];
        struct verdict verdict = {.kind = step % 5 == 0 ? VERDICT_DENY_UNKNOWN : VERDICT_ALLOW,
                                  .read_at_us = 100 * SECOND + (int64_t)step};

        snprintf(text, sizeof text, "a%02x%0*d", (unsigned)len, (int)len, (int)step);
        if (step % 3 != 0 && verdict.kind == VERDICT_ALLOW && len >= 5)
            verdict.attributes = (struct attributes){text, 3 + len};
        if (step % 11 == 0)
            verdict_cache_remove(cache, &digest);
        struct verdict held =
            verdict_cache_verdict(cache, verdict_cache_put(cache, &digest, &verdict, &limits));
        assert_int_equal(held.attributes.len, verdict.attributes.len);
        if (held.attributes.len > 0)
            assert_memory_equal(held.attributes.at, text, 3 + len);
    }
    for (uint64_t key = 0; key < 200; key++)
        verdict_cache_remove(cache, &(struct digest[]){digest_number(key)}[0]);
    assert_int_equal(verdict_cache_stats(cache).attribute_used, 0);
    verdict_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds_until_the_ttl),
        cmocka_unit_test(test_an_older_read_never_wins),
        cmocka_unit_test(test_a_refresh_keeps_the_usage_slot),
        cmocka_unit_test(test_unknown_keys_evict_only_each_other),
        cmocka_unit_test(test_the_least_useful_goes),
        cmocka_unit_test(test_remove_and_clear),
        cmocka_unit_test(test_takes_what_it_is_given_and_tells_it),
        cmocka_unit_test(test_a_table_nearly_full_keeps_nearly_all),
        cmocka_unit_test(test_what_is_removed_is_gone),
        cmocka_unit_test(test_agrees_with_a_plain_table),
        cmocka_unit_test(test_an_empty_slot_comes_before_an_old_verdict),
        cmocka_unit_test(test_a_slot_holds_all_of_a_verdict),
        cmocka_unit_test(test_no_key_takes_over_a_window),
        cmocka_unit_test(test_a_verdict_lives_no_longer_than_its_attributes),
        cmocka_unit_test(test_no_key_takes_over_attributes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
