/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/attributes.h>

#include <stdlib.h>

#include <apikeyd/base/out_of_memory.h>

size_t attributes_count(struct attributes attributes)
{
    struct attribute attribute;
    size_t count = 0;

    while (attributes_take(&attributes, &attribute))
        count++;
    return count;
}

bool attributes_append(struct attributes_draft *draft, unsigned column, struct slice value)
{
    static const char digits[] = "0123456789abcdef";
    char *at = draft->bytes + draft->len;

    if (value.len > ATTRIBUTE_VALUE_MAX || draft->values_len + value.len > ATTRIBUTES_VALUES_MAX)
        return false;
    at[0] = (char)('a' + column);
    at[1] = digits[value.len >> 4];
    at[2] = digits[value.len & 15];
    if (value.len > 0)
        memcpy(at + ATTRIBUTE_HEAD_LEN, value.at, value.len);
    draft->len += ATTRIBUTE_HEAD_LEN + value.len;
    draft->values_len += value.len;
    return true;
}

static bool is_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The length of the attribute at the start of `text`, with its head; 0 if there is none. */
static size_t attribute_len(struct slice text)
{
    if (text.len < ATTRIBUTE_HEAD_LEN || !is_digit(text.at[1]) || !is_digit(text.at[2]))
        return 0;
    size_t len =
        ATTRIBUTE_HEAD_LEN + (attribute_digit(text.at[1]) << 4 | attribute_digit(text.at[2]));
    return len <= text.len ? len : 0;
}

/* The length of a well-formed quota at the start of `text`, with its head; 0 if there is none. */
static size_t quota_text_len(struct slice text)
{
    size_t len = attribute_len(text);

    if (len <= ATTRIBUTE_HEAD_LEN || text.at[0] != ATTRIBUTE_QUOTA ||
        len > ATTRIBUTE_HEAD_LEN + QUOTA_DIGITS_MAX)
        return 0;
    for (size_t i = ATTRIBUTE_HEAD_LEN; i < len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return 0;
    }
    return len;
}

bool attributes_parse(struct slice *text, unsigned columns, struct attributes *ret)
{
    struct slice rest = *text;
    size_t values_len = 0, quota_len = quota_text_len(rest);

    rest.at += quota_len;
    rest.len -= quota_len;
    for (char next = 'a'; rest.len > 0 && rest.at[0] != ' ';) {
        size_t len = attribute_len(rest);

        if (len == 0 || rest.at[0] < next || rest.at[0] >= 'a' + (int)columns)
            return false;
        values_len += len - ATTRIBUTE_HEAD_LEN;
        next = (char)(rest.at[0] + 1);
        rest.at += len;
        rest.len -= len;
    }
    if (values_len > ATTRIBUTES_VALUES_MAX)
        return false;
    *ret = (struct attributes){text->at, text->len - rest.len};
    *text = rest;
    return true;
}

struct attributes attributes_copy(struct attributes attributes)
{
    if (attributes.len == 0)
        return (struct attributes){0};
    char *copy = malloc(attributes.len);
    if (!copy)
        out_of_memory();
    memcpy(copy, attributes.at, attributes.len);
    return (struct attributes){copy, attributes.len};
}

void attributes_free(struct attributes *copy)
{
    free((char *)copy->at);
    *copy = (struct attributes){0};
}
