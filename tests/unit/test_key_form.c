/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/key_form.h>
#include <apikeyd/model/key_hasher.h>

static struct key_prefixes prefixes_of(const char *text)
{
    struct key_prefixes prefixes = {0};
    char scratch[256];

    assert_null(key_prefixes_parse(text, &prefixes, scratch, sizeof scratch));
    return prefixes;
}

static bool fits(const char *prefixes, const char *key)
{
    struct key_prefixes list = prefixes_of(prefixes);

    return key_form_fits(&list, (struct slice){key, strlen(key)});
}

static void made_of(const char *prefix, unsigned first, char ret[static KEY_MADE_SIZE])
{
    unsigned char random[KEY_RANDOM_LEN];

    for (unsigned i = 0; i < sizeof random; i++)
        random[i] = (unsigned char)((first + 7 * i) % KEY_DIGITS);
    key_form_make(prefix, random, ret);
}

/* The checksum is that of other implementations: of Python, zlib.crc32(b"key_" + 24 * b"0") is
 * 594548927. */
static void test_a_known_key(void **state)
{
    const unsigned char zeros[KEY_RANDOM_LEN] = {0};
    char key[KEY_MADE_SIZE];

    (void)state;
    key_form_make("key", zeros, key);
    assert_string_equal(key, "key_0000000000000000000000000eEfKp");
    assert_true(fits("key", key));
}

static void test_every_other_byte_is_noticed(void **state)
{
    const struct key_prefixes prefixes = prefixes_of("acme_live");
    char key[KEY_MADE_SIZE];

    (void)state;
    for (unsigned first = 0; first < 20; first++) {
        made_of("acme_live", first, key);
        size_t len = strlen(key);

        assert_true(key_form_fits(&prefixes, (struct slice){key, len}));
        for (size_t i = 0; i < len; i++) {
            char right = key[i];

            for (int other = 0; other < 256; other++) {
                key[i] = (char)other;
                assert_true(key_form_fits(&prefixes, (struct slice){key, len}) ==
                            (key[i] == right));
            }
            key[i] = right;
        }
        for (size_t i = 0; i < len; i++) {
            assert_false(key_form_fits(&prefixes, (struct slice){key, i}));
            assert_false(key_form_fits(&prefixes, (struct slice){key + i + 1, len - i - 1}));
        }
    }
}

/* Two digits in the wrong order are the commonest mistake of people who type. */
static void test_swapped_digits_are_noticed(void **state)
{
    char key[KEY_MADE_SIZE];

    (void)state;
    made_of("key", 5, key);
    for (size_t i = 4; key[i + 1]; i++) {
        char first = key[i];

        if (first == key[i + 1])
            continue;
        key[i] = key[i + 1];
        key[i + 1] = first;
        assert_false(fits("key", key));
        key[i + 1] = key[i];
        key[i] = first;
    }
    assert_true(fits("key", key));
}

static void test_prefixes(void **state)
{
    char key[KEY_MADE_SIZE];

    (void)state;
    made_of("sk_live", 3, key);
    assert_true(fits("sk_live", key));
    assert_true(fits("pk, sk, sk_live", key));
    assert_false(fits("sk, live, sk_liv, SK_LIVE, sk_live1", key));
    made_of("abcdefghijklmnop", 3, key); /* the longest */
    assert_int_equal(strlen(key), KEY_MADE_SIZE - 1);
    assert_true(fits("abcdefghijklmnop", key));
}

/* Longer keys are accepted: the number of random digits may grow. */
static void test_lengths(void **state)
{
    static const char *const other[] = {"", "_", "key_", "key", "key__", "_000000"};
    const struct key_prefixes prefixes = prefixes_of("key");
    char longest[KEY_LEN_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_false(fits("key", other[i]));
    memset(longest, '0', sizeof longest);
    memcpy(longest, "key_", 4);
    memcpy(longest + KEY_LEN_MAX - 6, "4S9LYS", 6);
    assert_true(key_form_fits(&prefixes, (struct slice){longest, KEY_LEN_MAX}));
    longest[KEY_LEN_MAX - 6] = '0';
    memcpy(longest + KEY_LEN_MAX - 5, "0gfD0p", 6);
    assert_false(key_form_fits(&prefixes, (struct slice){longest, KEY_LEN_MAX + 1}));
    assert_true(fits("key", "key_000000000000000000000032p5Yx"));
    assert_false(fits("key", "key_0000000000000000000004fIS39")); /* one digit too few */
}

static void expect_list(const char *text, const char *printed)
{
    struct key_prefixes prefixes = prefixes_of(text);
    struct buffer out = {0};

    key_prefixes_print(&prefixes, &out);
    buffer_append(&out, "", 1);
    assert_string_equal(out.data, printed);
    buffer_free(&out);
}

static void expect_wrong(const char *text, const char *expected)
{
    struct key_prefixes prefixes = {.len = 7};
    char scratch[256];
    const char *wrong = key_prefixes_parse(text, &prefixes, scratch, sizeof scratch);

    assert_non_null(wrong);
    if (!strstr(wrong, expected))
        fail_msg("%s: %s", text, wrong);
    assert_int_equal(prefixes.len, 7);
}

static void test_lists(void **state)
{
    static const char *const none[] = {"",
                                       ",",
                                       "a,",
                                       "a,,b",
                                       "a b",
                                       "a_",
                                       "_a",
                                       "1a",
                                       "a-b",
                                       "\xc3\xa9",
                                       "abcdefghijklmnopq",
                                       "a,b,c,d,e,f,g,h,i"};

    (void)state;
    expect_list("key", "key");
    expect_list(" acme_live,\tacme_test ", "acme_live, acme_test");
    expect_list("a,b,c,d,e,f,g,h", "a, b, c, d, e, f, g, h");
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        expect_wrong(none[i], "1 to 8 prefixes with commas in between are needed, each of 1 to 16 "
                              "letters, digits and underscores");
    expect_wrong("a, b, a", "a is listed twice");
}

static void test_equal_lists_allow_the_same(void **state)
{
    struct key_prefixes one = prefixes_of("a, b"), other = prefixes_of("b, a");
    struct key_prefixes more = prefixes_of("a, b, c"), less = prefixes_of("a, c");

    (void)state;
    assert_true(key_prefixes_equal(&one, &other));
    assert_false(key_prefixes_equal(&one, &more));
    assert_false(key_prefixes_equal(&one, &less));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_known_key),
        cmocka_unit_test(test_every_other_byte_is_noticed),
        cmocka_unit_test(test_swapped_digits_are_noticed),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_equal_lists_allow_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
