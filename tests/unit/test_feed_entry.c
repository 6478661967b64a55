/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/feed_entry.h>

static const struct slice name = {"apikeyd:1:feed/1/2/3", 20};
static const struct slice other = {"apikeyd:1:feed/1/2/4", 20};

static const struct feed_entry entries[] = {
    {.relay = UINT64_C(0xfedcba9876543210),
     .epoch = 1,
     .number = 1,
     .kind = FEED_ENTRY_KEY,
     .server_us = 1795404331990069,
     .digest = {{1, UINT64_MAX}}},
    {.relay = 1,
     .epoch = INT64_C(999999999999999999),
     .number = INT64_C(999999999999999999),
     .kind = FEED_ENTRY_ALL},
    {.relay = UINT64_MAX, .epoch = 2, .number = 3, .kind = FEED_ENTRY_MISSING, .server_us = 4},
    {.relay = 5,
     .epoch = INT64_C(999999999999999999),
     .number = INT64_C(999999999999999999),
     .kind = FEED_ENTRY_CONFIRMED,
     .server_us = INT64_C(999999999999999999),
     .timeline = UINT32_MAX,
     .started_us = INT64_C(999999999999999999),
     .gap = true,
     .delay_us = INT64_C(999999999999999999)},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static void assert_entry_equal(const struct feed_entry *a, const struct feed_entry *b)
{
    assert_int_equal(a->relay, b->relay);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->server_us, b->server_us);
    assert_true(digest_equal(&a->digest, &b->digest));
    assert_int_equal(a->timeline, b->timeline);
    assert_int_equal(a->started_us, b->started_us);
    assert_int_equal(a->gap, b->gap);
    assert_int_equal(a->delay_us, b->delay_us);
}

static void test_reads_what_it_writes(void **state)
{
    const struct slice secrets[] = {SLICE(""), SLICE("s3cret")};

    (void)state;
    for (int i = 0; i < 2 * ENTRIES; i++) {
        const struct feed_entry *entry = &entries[i / 2];
        struct feed_entry read = {0};
        char text[FEED_ENTRY_SIZE];
        size_t len = feed_entry_encode(name, entry, secrets[i % 2], text);

        assert_int_equal(len, strlen(text));
        assert_in_range(len, 1, sizeof text - 1);
        assert_int_equal(feed_entry_decode(name, (struct slice){text, len}, secrets[i % 2], &read),
                         FEED_ENTRY_FINE);
        assert_entry_equal(&read, entry);
        /* A sidecar without the secret can read what a relay with it has written. */
        assert_int_equal(feed_entry_decode(name, (struct slice){text, len}, SLICE(""), &read),
                         FEED_ENTRY_FINE);
    }
}

static void test_a_tag_holds_for_one_entry_of_one_stream(void **state)
{
    const struct slice secret = SLICE("s3cret");

    (void)state;
    for (int i = 0; i < ENTRIES; i++) {
        struct feed_entry read = {.number = -1};
        char text[FEED_ENTRY_SIZE];
        size_t len = feed_entry_encode(name, &entries[i], secret, text);

        assert_int_equal(feed_entry_decode(other, (struct slice){text, len}, secret, &read),
                         FEED_ENTRY_FORGED);
        assert_int_equal(feed_entry_decode(name, (struct slice){text, len}, SLICE("else"), &read),
                         FEED_ENTRY_FORGED);
        for (size_t at = 0; at < len; at++) {
            text[at] ^= 1;
            assert_int_equal(feed_entry_decode(name, (struct slice){text, len}, secret, &read),
                             FEED_ENTRY_FORGED);
            text[at] ^= 1;
            assert_int_equal(feed_entry_decode(name, (struct slice){text, at}, secret, &read),
                             FEED_ENTRY_FORGED);
        }
        assert_int_equal(read.number, -1);
    }
}

static void test_refuses_other_lines(void **state)
{
    static const char *const lines[] = {
        "",
        "1",
        "2 0123456789abcdef 1 1 all 0",
        "1 0123456789ABCDEF 1 1 all 0",
        "1 0123456789abcde 1 1 all 0",
        "1 0123456789abcdef 0 1 all 0",
        "1 0123456789abcdef 1 0 all 0",
        "1 0123456789abcdef 1 -1 all 0",
        "1 0123456789abcdef 1 1 al 0",
        "1 0123456789abcdef 1 1 all",
        "1 0123456789abcdef 1 1 all 0 1",
        "1 0123456789abcdef 1 1  all 0",
        "1 0123456789abcdef 1 1 key 0",
        "1 0123456789abcdef 1 1 key 0 00112233445566778899aabbccddee",
        "1 0123456789abcdef 1 1 key 0 00112233445566778899aabbccddeeff0",
        "1 0123456789abcdef 1 1 confirmed 0 1 1 2 0",
        "1 0123456789abcdef 1 1 confirmed 0 4294967296 1 0 0",
        "1 0123456789abcdef 1 1 confirmed 0 1 1 0",
        "1 0123456789abcdef 1 1 confirmed 0 1 1 0 1000000000000000000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct feed_entry read = {.number = -1};

        assert_int_equal(
            feed_entry_decode(name, (struct slice){lines[i], strlen(lines[i])}, SLICE(""), &read),
            FEED_ENTRY_BROKEN);
        assert_int_equal(read.number, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_it_writes),
        cmocka_unit_test(test_a_tag_holds_for_one_entry_of_one_stream),
        cmocka_unit_test(test_refuses_other_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
