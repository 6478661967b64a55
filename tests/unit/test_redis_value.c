/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/redis_value.h>

static const struct verdict allow = {
    .kind = VERDICT_ALLOW, .api_key_id = {.head = {{1, 2, 3}}}, .user_id = {.head = {{4, 5, 6}}}};

static const struct redis_value_form plain_form = {REDIS_VALUE_PLAIN, ID_UUID, 0, false};
static const struct redis_value_form window_form = {REDIS_VALUE_WITH_WINDOW, ID_UUID, 0, false};

static enum redis_value_kind decode(struct slice key, const char *text, struct slice secret,
                                    struct verdict *ret, int64_t *ret_read_us)
{
    return redis_value_decode(key, (struct slice){text, strlen(text)}, secret, plain_form, ret,
                              ret_read_us);
}

static void test_reads_what_it_writes(void **state)
{
    static const enum verdict_kind kinds[] = {VERDICT_ALLOW, VERDICT_DENY_INACTIVE};
    const struct slice secrets[] = {SLICE(""), SLICE("s3cret")};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct verdict verdict = allow, read = {0};
        char text[REDIS_VALUE_SIZE];
        int64_t read_us = 0;

        verdict.kind = kinds[i / 2];
        size_t len = redis_value_encode(SLICE("k"), REDIS_VALUE_PLAIN, &verdict, 1795404331990069,
                                        secrets[i % 2], text);
        assert_int_equal(len, strlen(text));
        assert_int_equal(decode(SLICE("k"), text, secrets[i % 2], &read, &read_us),
                         REDIS_VALUE_VERDICT);
        assert_int_equal(read.kind, verdict.kind);
        assert_memory_equal(&read.api_key_id, &allow.api_key_id, 16);
        assert_memory_equal(&read.user_id, &allow.user_id, 16);
        assert_int_equal(read_us, 1795404331990069);
    }
}

/* Of every field that a verdict has, or gets one day. */
static void test_a_value_holds_all_of_a_verdict(void **state)
{
    (void)state;
    for (enum id_type type = ID_UUID; type <= ID_TEXT; type++) {
        struct verdict verdict = verdict_of_all_fields(type), read = {0};
        char text[REDIS_VALUE_SIZE];
        int64_t read_us;

        verdict.read_at_us = 0; /* not in the value, as it is by this host's clock */
        size_t len = redis_value_encode(SLICE("k"), REDIS_VALUE_WITH_ATTRIBUTES, &verdict, 17,
                                        SLICE("s3cret"), text);
        struct slice value = {text, len};
        struct redis_value_form form = {REDIS_VALUE_WITH_ATTRIBUTES, type, 2, true};
        assert_int_equal(
            redis_value_decode(SLICE("k"), value, SLICE("s3cret"), form, &read, &read_us),
            REDIS_VALUE_VERDICT);
        assert_verdict_equal(&read, &verdict);
    }
}

static void test_is_one_readable_line(void **state)
{
    char text[REDIS_VALUE_SIZE];

    (void)state;
    redis_value_encode(SLICE("k"), REDIS_VALUE_PLAIN, &allow, 17, SLICE(""), text);
    assert_string_equal(text, "1 ALLOW 01020300-0000-0000-0000-000000000000 "
                              "04050600-0000-0000-0000-000000000000 17");
}

/* A daemon that knows of no windows must not take a key's verdict without its window, and one that
 * does must not take a verdict that never had one. */
static void test_the_formats_are_strangers(void **state)
{
    struct verdict until = allow, read = {0};
    char text[REDIS_VALUE_SIZE];
    int64_t read_us;

    (void)state;
    until.window = (struct key_window){5, 7};
    redis_value_encode(SLICE("k"), REDIS_VALUE_WITH_WINDOW, &until, 17, SLICE(""), text);
    assert_string_equal(text, "2 5 7 ALLOW 01020300-0000-0000-0000-000000000000 "
                              "04050600-0000-0000-0000-000000000000 17");
    assert_int_equal(decode(SLICE("k"), text, SLICE(""), &read, &read_us), REDIS_VALUE_BROKEN);
    redis_value_encode(SLICE("k"), REDIS_VALUE_PLAIN, &allow, 17, SLICE(""), text);
    struct slice value = {text, strlen(text)};
    assert_int_equal(redis_value_decode(SLICE("k"), value, SLICE(""), window_form, &read, &read_us),
                     REDIS_VALUE_BROKEN);
    static const char *const broken[] = {
        "2", "2 5", "2 5 ", "2 5 7", "2 -5 7 ALLOW", "2 5 x ALLOW", "2  7 ALLOW"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        value = (struct slice){broken[i], strlen(broken[i])};
        assert_int_equal(
            redis_value_decode(SLICE("k"), value, SLICE(""), window_form, &read, &read_us),
            REDIS_VALUE_BROKEN);
    }
}

/* With a tag and without, of a host with a secret or without one. */
static void test_attributes(void **state)
{
    static const char head[] = "3 0 0 ALLOW 01020300-0000-0000-0000-000000000000 "
                               "04050600-0000-0000-0000-000000000000 17 ";
    static const struct redis_value_form form = {REDIS_VALUE_WITH_ATTRIBUTES, ID_UUID, 2, false};
    static const char *const some[] = {"", "a00", "a04goldb06 x y z"};
    static const char *const broken[] = {"#0210a00", "#0210",    "x",       "a", "c00",
                                         "a01",      "a04gold ", "a00 tag", " ", "a01\xff"};
    const struct slice secrets[] = {SLICE(""), SLICE("s3cret")};
    char text[REDIS_VALUE_SIZE], expected[REDIS_VALUE_SIZE];
    struct verdict verdict = allow, read = {0};
    int64_t read_us;

    (void)state;
    for (size_t i = 0; i < sizeof some / sizeof some[0] * 2; i++) {
        verdict.attributes = (struct attributes){some[i / 2], strlen(some[i / 2])};
        size_t len =
            redis_value_encode(SLICE("k"), form.format, &verdict, 17, secrets[i % 2], text);
        struct slice value = {text, len};
        snprintf(expected, sizeof expected, "%s%s%s", head, some[i / 2], i % 2 ? " " : "");
        assert_memory_equal(text, expected, strlen(expected));
        for (size_t reader = 0; reader <= i % 2; reader++) {
            assert_int_equal(
                redis_value_decode(SLICE("k"), value, secrets[reader], form, &read, &read_us),
                REDIS_VALUE_VERDICT);
            assert_int_equal(read_us, 17);
            assert_int_equal(read.attributes.len, strlen(some[i / 2]));
            assert_memory_equal(read.attributes.at, some[i / 2], read.attributes.len);
        }
        if (i % 2 == 0)
            continue;
        text[strlen(head)] ^= 1;
        assert_int_equal(redis_value_decode(SLICE("k"), value, secrets[1], form, &read, &read_us),
                         REDIS_VALUE_FORGED);
    }
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        snprintf(text, sizeof text, "%s%s", head, broken[i]);
        struct slice value = {text, strlen(text)};
        assert_int_equal(redis_value_decode(SLICE("k"), value, SLICE(""), form, &read, &read_us),
                         REDIS_VALUE_BROKEN);
    }
}

static void test_forgeries_are_seen(void **state)
{
    struct verdict read;
    int64_t read_us;
    char text[REDIS_VALUE_SIZE], plain[REDIS_VALUE_SIZE];

    (void)state;
    redis_value_encode(SLICE("k"), REDIS_VALUE_PLAIN, &allow, 17, SLICE(""), plain);
    redis_value_encode(SLICE("k"), REDIS_VALUE_PLAIN, &allow, 17, SLICE("secret"), text);
    /* no tag, another secret's, another key's, a changed byte */
    assert_int_equal(decode(SLICE("k"), plain, SLICE("secret"), &read, &read_us),
                     REDIS_VALUE_FORGED);
    assert_int_equal(decode(SLICE("k"), text, SLICE("other"), &read, &read_us), REDIS_VALUE_FORGED);
    assert_int_equal(decode(SLICE("K"), text, SLICE("secret"), &read, &read_us),
                     REDIS_VALUE_FORGED);
    for (size_t i = 0; text[i]; i++) {
        text[i] ^= 1;
        assert_int_equal(decode(SLICE("k"), text, SLICE("secret"), &read, &read_us),
                         REDIS_VALUE_FORGED);
        text[i] ^= 1;
    }
    assert_int_equal(decode(SLICE("k"), text, SLICE("secret"), &read, &read_us),
                     REDIS_VALUE_VERDICT);
    /* A host without the secret reads signed values. */
    assert_int_equal(decode(SLICE("k"), text, SLICE(""), &read, &read_us), REDIS_VALUE_VERDICT);
    assert_int_equal(read_us, 17);
}

static void test_tombstones_and_rubbish(void **state)
{
    static const char *const broken[] = {
        "",
        "1",
        "1 ",
        "2 ALLOW x",
        "1 ALLOW",
        "1 ALLOW 01020300-0000-0000-0000-000000000000 x 1",
        "1 MAYBE 01020300-0000-0000-0000-000000000000 04050600-0000-0000-0000-000000000000 17",
        "1 ALLOW 01020300-0000-0000-0000-000000000000 04050600-0000-0000-0000-000000000000 ",
        "1 ALLOW 01020300-0000-0000-0000-000000000000 04050600-0000-0000-0000-000000000000 -1",
        "1 ALLOW 01020300-0000-0000-0000-000000000000 04050600-0000-0000-0000-000000000000 "
        "99999999999999999999",
        "1 ALLOW 01020300-0000-0000-0000-000000000000"};
    struct verdict read;
    int64_t read_us;

    (void)state;
    assert_int_equal(decode(SLICE("k"), "tombstone", SLICE("secret"), &read, &read_us),
                     REDIS_VALUE_TOMBSTONE);
    assert_int_equal(read_us, 0);
    char text[REDIS_VALUE_SIZE];
    size_t len = redis_value_encode_tombstone(1795404331990069, text);
    assert_int_equal(len, strlen(text));
    assert_int_equal(decode(SLICE("k"), text, SLICE("secret"), &read, &read_us),
                     REDIS_VALUE_TOMBSTONE);
    assert_int_equal(read_us, 1795404331990069);
    assert_int_equal(decode(SLICE("k"), "tombstone x", SLICE(""), &read, &read_us),
                     REDIS_VALUE_TOMBSTONE);
    assert_int_equal(read_us, 0);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_int_equal(decode(SLICE("k"), broken[i], SLICE(""), &read, &read_us),
                         REDIS_VALUE_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_it_writes),
        cmocka_unit_test(test_a_value_holds_all_of_a_verdict),
        cmocka_unit_test(test_is_one_readable_line),
        cmocka_unit_test(test_the_formats_are_strangers),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_forgeries_are_seen),
        cmocka_unit_test(test_tombstones_and_rubbish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
