/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/attribute_text.h>

struct reading {
    enum attribute_form form;
    const char *printed;
    enum attribute_value found;
    const char *value;
};

static void test_values(void **state)
{
    static const struct reading cases[] = {
        {ATTRIBUTE_TEXT, "gold", ATTRIBUTE_IS_VALUE, "gold"},
        {ATTRIBUTE_TEXT, "", ATTRIBUTE_IS_VALUE, ""},
        {ATTRIBUTE_TEXT, " a\nb ", ATTRIBUTE_IS_VALUE, " a\nb "},
        {ATTRIBUTE_TEXT, "a\xff", ATTRIBUTE_IS_NO_TEXT, NULL},
        {ATTRIBUTE_PADDED, "gold  ", ATTRIBUTE_IS_VALUE, "gold"},
        {ATTRIBUTE_BOOLEAN, "t", ATTRIBUTE_IS_VALUE, "true"},
        {ATTRIBUTE_BOOLEAN, "f", ATTRIBUTE_IS_VALUE, "false"},
        {ATTRIBUTE_JSON, "\"gold\"", ATTRIBUTE_IS_VALUE, "gold"},
        {ATTRIBUTE_JSON, "\"a\\u00e9 \\\"b\\\"\"", ATTRIBUTE_IS_VALUE, "a\xc3\xa9 \"b\""},
        {ATTRIBUTE_JSON, " 1.50 ", ATTRIBUTE_IS_VALUE, "1.50"},
        {ATTRIBUTE_JSON, "123456789012345678901234567890", ATTRIBUTE_IS_VALUE,
         "123456789012345678901234567890"},
        {ATTRIBUTE_JSON, "\n\t\"gold\"\r", ATTRIBUTE_IS_VALUE, "gold"},
        {ATTRIBUTE_JSON, "true", ATTRIBUTE_IS_VALUE, "true"},
        {ATTRIBUTE_JSON, " null", ATTRIBUTE_IS_NULL, NULL},
        {ATTRIBUTE_JSON, "\"\"", ATTRIBUTE_IS_VALUE, ""},
        {ATTRIBUTE_JSON, "{\"a\": 1}", ATTRIBUTE_IS_NO_SCALAR, NULL},
        {ATTRIBUTE_JSON, "[\"read\", null, \"write\"]", ATTRIBUTE_IS_VALUE, "read write"},
        {ATTRIBUTE_JSON, "[]", ATTRIBUTE_IS_VALUE, ""},
        {ATTRIBUTE_JSON, "[1]", ATTRIBUTE_IS_NO_SCALAR, NULL},
        {ATTRIBUTE_JSON, "[\"a\", [\"b\"]]", ATTRIBUTE_IS_NO_SCALAR, NULL},
        {ATTRIBUTE_JSON, "[\"a b\"]", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_JSON, "[\"\"]", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_JSON, "\"a\\u0000b\"", ATTRIBUTE_IS_NO_TEXT, NULL},
        {ATTRIBUTE_JSON, "\"\\ud800\"", ATTRIBUTE_IS_NO_TEXT, NULL},
        {ATTRIBUTE_JSON, "", ATTRIBUTE_IS_NO_SCALAR, NULL},
        {ATTRIBUTE_LIST, "{}", ATTRIBUTE_IS_VALUE, ""},
        {ATTRIBUTE_LIST, "{read,write}", ATTRIBUTE_IS_VALUE, "read write"},
        {ATTRIBUTE_LIST, "{read,NULL,\"null\"}", ATTRIBUTE_IS_VALUE, "read null"},
        {ATTRIBUTE_LIST, "{NULL}", ATTRIBUTE_IS_VALUE, ""},
        {ATTRIBUTE_LIST, "[2:3]={a,b}", ATTRIBUTE_IS_VALUE, "a b"},
        {ATTRIBUTE_LIST, "{\"a,b\",\"{\",\"\\\"\\\\\"}", ATTRIBUTE_IS_VALUE, "a,b { \"\\"},
        {ATTRIBUTE_LIST, "{\"a b\"}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{a,\"\"}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{\"a\nb\"}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{{a,b},{c,d}}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{\"a}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{\"a\"b}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{,}", ATTRIBUTE_IS_NO_LIST, NULL},
        {ATTRIBUTE_LIST, "{a\\}", ATTRIBUTE_IS_NO_LIST, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct reading *c = &cases[i];
        struct slice printed = {c->printed, strlen(c->printed)};
        struct buffer value = {0};

        if (attribute_text_read(c->form, printed, &value) != c->found)
            fail_msg("%s is not what it should be", c->printed);
        buffer_append(&value, "", 1);
        if (c->value)
            assert_string_equal(value.data, c->value);
        buffer_free(&value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
