/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/model/row_id.h>

static bool reads(const char *text, size_t len, enum id_type type, struct row_id *ret)
{
    return row_id_from_text((struct slice){text, len}, type, ret);
}

static void assert_both_ways(const char *text, enum id_type type)
{
    char again[ID_TEXT_MAX];
    struct row_id id;

    memset(&id, 0xaa, sizeof id);
    assert_true(reads(text, strlen(text), type, &id));
    assert_int_equal(row_id_to_text(&id, type, again), strlen(text));
    assert_memory_equal(again, text, strlen(text));
}

static void assert_refused(const char *text, size_t len, enum id_type type)
{
    struct row_id id;

    if (reads(text, len, type, &id))
        fail_msg("%s \"%.*s\" was read", id_type_name(type), (int)len, text);
}

static void test_texts_go_both_ways(void **state)
{
    (void)state;
    assert_both_ways("00112233-4455-6677-8899-aabbccddeeff", ID_UUID);
    assert_both_ways("0", ID_BIGINT);
    assert_both_ways("-1", ID_BIGINT);
    assert_both_ways("9223372036854775807", ID_BIGINT);
    assert_both_ways("-9223372036854775808", ID_BIGINT);
    assert_both_ways("x", ID_TEXT);
    assert_both_ways("0123456789abcdef", ID_TEXT); /* all of the head */
    assert_both_ways("0123456789abcdefg", ID_TEXT);
    assert_both_ways("01ARZ3NDEKTSV4RRFFQ69G5FAV", ID_TEXT);
    assert_both_ways("012345678901234567890123456789abcdef", ID_TEXT);
    assert_both_ways("m\xc3\xbcller@example.org", ID_TEXT);
}

/* What has another text, or could not stand in a line or a field. */
static void test_other_texts_are_refused(void **state)
{
    static const char *const no_bigint[] = {
        "",
        "-",
        "-0",
        "+1",
        "00",
        "01",
        "1 ",
        " 1",
        "1x",
        "0x1",
        "1.0",
        "1e3",
        "9223372036854775808",
        "-9223372036854775809",
        "12345678901234567890123",
    };
    static const char *const no_text[] = {
        "",     " ",    "a b",  "a\tb",         "a\n",
        "\x7f", "\xff", "\xc3", "\xed\xa0\x80", "012345678901234567890123456789abcdefg",
    };

    (void)state;
    for (size_t i = 0; i < sizeof no_bigint / sizeof no_bigint[0]; i++)
        assert_refused(no_bigint[i], strlen(no_bigint[i]), ID_BIGINT);
    for (size_t i = 0; i < sizeof no_text / sizeof no_text[0]; i++)
        assert_refused(no_text[i], strlen(no_text[i]), ID_TEXT);
    for (char byte = 0; byte <= ' '; byte++)
        assert_refused((char[]){'a', byte, 'b'}, 3, ID_TEXT);
    assert_refused("00112233-4455-6677-8899-AABBCCDDEEFF", 36, ID_UUID);
    assert_refused("00112233-4455-6677-8899-aabbccddeef", 35, ID_UUID);
    assert_refused("7", 1, ID_UUID);
}

/* As bytes, as the values do. */
static void test_the_order_is_that_of_the_values(void **state)
{
    static const int64_t numbers[] = {INT64_MIN, -256, -255, -1, 0, 1, 255, 256, INT64_MAX};
    static const char *const texts[] = {"0", "00", "1", "A", "a", "aa", "b", "\xc3\xa9"};
    struct row_id last, next;

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        row_id_from_bigint(numbers[i], &next);
        assert_int_equal(row_id_to_bigint(&next), numbers[i]);
        assert_true(i == 0 || row_id_order(&last, &next) < 0);
        last = next;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(reads(texts[i], strlen(texts[i]), ID_TEXT, &next));
        assert_true(i == 0 || row_id_order(&last, &next) < 0);
        last = next;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_go_both_ways),
        cmocka_unit_test(test_other_texts_are_refused),
        cmocka_unit_test(test_the_order_is_that_of_the_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
