/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/attribute_text.h>

#include <jansson.h>

#include <apikeyd/base/utf8.h>

/* A blank, a control character, or any other byte that ends a word. */
static bool has_blank(struct slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        if ((unsigned char)word.at[i] <= ' ' || word.at[i] == 0x7f)
            return true;
    }
    return false;
}

/* Append an element of a list that began at `start` of *ret. False when it is no word. */
static bool append_word(struct buffer *ret, size_t start, struct slice word)
{
    if (word.len == 0 || has_blank(word))
        return false;
    if (ret->len > start)
        buffer_append(ret, " ", 1);
    buffer_append(ret, word.at, word.len);
    return true;
}

/* array_out() in PostgreSQL: elements with quotes around them have backslashes before quotes and
 * backslashes. Takes an element off the front of *rest, which has one. */
static bool take_element(struct slice *rest, struct buffer *word, bool *ret_null)
{
    bool quoted = rest->at[0] == '"';
    size_t i = quoted;

    for (; i < rest->len && rest->at[i] != (quoted ? '"' : ','); i++) {
        bool escaped = rest->at[i] == '\\';

        i += escaped;
        if (i == rest->len || (!quoted && !escaped && (rest->at[i] == '{' || rest->at[i] == '"')))
            return false;
        buffer_append(word, &rest->at[i], 1);
    }
    if (quoted && i++ == rest->len)
        return false;
    *ret_null = !quoted && slice_is(buffer_held(word), "NULL");
    if (i < rest->len && rest->at[i] != ',')
        return false;
    i += i < rest->len;
    rest->at += i;
    rest->len -= i;
    return true;
}

/* "{a,b}", perhaps with its bounds before that: "[2:3]={a,b}". */
static bool read_list(struct slice printed, struct buffer *ret)
{
    const char *open = printed.len > 0 ? memchr(printed.at, '{', printed.len) : NULL;
    size_t start = ret->len;
    struct buffer word = {0};
    bool fits = open && printed.at[printed.len - 1] == '}';

    if (!fits)
        return false;
    struct slice rest = {open + 1, (size_t)(printed.at + printed.len - 1 - (open + 1))};
    while (fits && rest.len > 0) {
        bool null = false;

        buffer_consume(&word, word.len);
        fits = take_element(&rest, &word, &null) &&
               (null || append_word(ret, start, buffer_held(&word)));
    }
    buffer_free(&word);
    return fits;
}

static enum attribute_value read_json_list(const json_t *list, struct buffer *ret)
{
    size_t start = ret->len;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);

        if (json_is_null(item))
            continue;
        if (!json_is_string(item))
            return ATTRIBUTE_IS_NO_SCALAR;
        if (!append_word(ret, start,
                         (struct slice){json_string_value(item), json_string_length(item)}))
            return ATTRIBUTE_IS_NO_LIST;
    }
    return ATTRIBUTE_IS_VALUE;
}

/* A string, or an array of some. jansson refuses escapes that no UTF-8 has, and NUL. */
static enum attribute_value read_json_strings(struct slice printed, struct buffer *ret)
{
    json_error_t error;
    json_t *json = json_loadb(printed.at, printed.len, JSON_DECODE_ANY, &error);
    enum attribute_value found = ATTRIBUTE_IS_NO_TEXT;

    if (json_is_string(json)) {
        buffer_append(ret, json_string_value(json), json_string_length(json));
        found = ATTRIBUTE_IS_VALUE;
    } else if (json_is_array(json)) {
        found = read_json_list(json, ret);
    }
    json_decref(json);
    return found;
}

static bool is_json_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* PostgreSQL has checked that it is JSON. Numbers stay as they are: a double might not hold one. */
static enum attribute_value read_json(struct slice printed, struct buffer *ret)
{
    while (printed.len > 0 && is_json_blank(printed.at[0])) {
        printed.at++;
        printed.len--;
    }
    while (printed.len > 0 && is_json_blank(printed.at[printed.len - 1]))
        printed.len--;
    if (slice_equal(printed, (struct slice){"null", 4}))
        return ATTRIBUTE_IS_NULL;
    if (printed.len == 0 || printed.at[0] == '{')
        return ATTRIBUTE_IS_NO_SCALAR;
    if (printed.at[0] == '"' || printed.at[0] == '[')
        return read_json_strings(printed, ret);
    buffer_append(ret, printed.at, printed.len);
    return ATTRIBUTE_IS_VALUE;
}

static struct slice without_padding(struct slice text)
{
    while (text.len > 0 && text.at[text.len - 1] == ' ')
        text.len--;
    return text;
}

enum attribute_value attribute_text_read(enum attribute_form form, struct slice printed,
                                         struct buffer *ret)
{
    if (!utf8_valid_text(printed))
        return ATTRIBUTE_IS_NO_TEXT;
    switch (form) {
    case ATTRIBUTE_PADDED:
        printed = without_padding(printed);
        break;
    case ATTRIBUTE_BOOLEAN:
        buffer_text(ret, slice_is(printed, "t") ? "true" : "false");
        return ATTRIBUTE_IS_VALUE;
    case ATTRIBUTE_JSON:
        return read_json(printed, ret);
    case ATTRIBUTE_LIST:
        return read_list(printed, ret) ? ATTRIBUTE_IS_VALUE : ATTRIBUTE_IS_NO_LIST;
    case ATTRIBUTE_TEXT:
        break;
    }
    buffer_append(ret, printed.at, printed.len);
    return ATTRIBUTE_IS_VALUE;
}
