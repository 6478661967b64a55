/* SPDX-License-Identifier: MIT */
/* Columns of attributes as PostgreSQL prints them: their text is the table owner's. */
#include <string.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/model/attributes.h>
#include <apikeyd/wire/attribute_text.h>

#include "fuzz.h"

/* Elements of a list can be told apart again: no blank but those between them. */
static void judge_list(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        bool blank = (unsigned char)value.at[i] <= ' ' || value.at[i] == 0x7f;

        FUZZ_MUST(!blank ||
                  (value.at[i] == ' ' && i > 0 && i + 1 < value.len && value.at[i - 1] != ' '));
    }
}

static void judge(enum attribute_form form, struct slice printed)
{
    struct buffer read = {0};
    struct attributes_draft draft = {0};
    struct attribute attribute;

    if (attribute_text_read(form, printed, &read) == ATTRIBUTE_IS_VALUE) {
        struct slice value = buffer_held(&read);

        FUZZ_MUST(utf8_valid_text(value));
        FUZZ_MUST(form == ATTRIBUTE_BOOLEAN || value.len <= printed.len);
        if (form == ATTRIBUTE_LIST || (form == ATTRIBUTE_JSON && memchr(printed.at, '[', 1)))
            judge_list(value);
        if (attributes_append(&draft, 3, value)) {
            struct attributes rest = attributes_of(&draft);
            struct slice text = {rest.at, rest.len};
            struct attributes parsed;

            FUZZ_MUST(attributes_take(&rest, &attribute) && rest.len == 0);
            FUZZ_MUST(attribute.column == 3 && slice_equal(attribute.value, value));
            FUZZ_MUST(attributes_parse(&text, 4, &parsed) && parsed.len == draft.len);
        }
    }
    buffer_free(&read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum attribute_form form = ATTRIBUTE_TEXT; form <= ATTRIBUTE_LIST; form++)
        judge(form, (struct slice){(const char *)data, size});
    return 0;
}
