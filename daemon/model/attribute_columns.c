/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/attribute_columns.h>

#include <stdio.h>

#include <apikeyd/base/utf8.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Letters and digits stay, each word begins with a capital, and each other byte is a hyphen. */
static void fold(const char *name, char ret_field[static ATTRIBUTE_NAME_MAX + 1])
{
    bool begins = true;

    for (; *name; name++, ret_field++) {
        bool letter = is_letter(*name);

        if (letter)
            *ret_field = (char)(begins ? *name & ~0x20 : *name | 0x20);
        else if (*name >= '0' && *name <= '9')
            *ret_field = *name;
        else
            *ret_field = '-';
        begins = *ret_field == '-';
    }
    *ret_field = '\0';
}

/* What an answer calls otherwise: X-Api-Key-Id, over_quota of a CHECK, and the fields of a Lambda
 * authorizer's context, to which API Gateway adds the principalId. */
static bool is_taken(const char *name, const char *field)
{
    return strcmp(field, "Id") == 0 || strcmp(name, "apiKeyId") == 0 ||
           strcmp(name, "userId") == 0 || strcmp(name, "principalId") == 0 ||
           strcmp(name, "reason") == 0 || strcmp(name, "over_quota") == 0 ||
           strcmp(name, "overQuota") == 0;
}

static bool is_name(struct slice text)
{
    if (text.len == 0 || text.len > ATTRIBUTE_NAME_MAX || !utf8_valid_text(text))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
            return false;
    }
    return true;
}

/* Add a name that is one. Returns NULL, or what is wrong with it beside the others. */
static const char *add(struct attribute_columns *columns, struct slice item, char *scratch,
                       size_t scratch_size)
{
    char *name = columns->column[columns->len].name;
    char *field = columns->column[columns->len].field;

    memcpy(name, item.at, item.len);
    fold(name, field);
    if (is_taken(name, field)) {
        snprintf(scratch, scratch_size,
                 "%s: an answer has something else by that name; give the column another one",
                 name);
        return scratch;
    }
    for (size_t i = 0; i < columns->len; i++) {
        if (strcmp(field, columns->column[i].field) != 0)
            continue;
        if (strcmp(name, columns->column[i].name) == 0)
            snprintf(scratch, scratch_size, "%s is listed twice; one of them has to go", name);
        else
            snprintf(
                scratch, scratch_size,
                "%s and %s are both X-Api-Key-%s in HTTP; give one of the columns another name",
                columns->column[i].name, name, field);
        return scratch;
    }
    columns->len++;
    return NULL;
}

const char *attribute_columns_parse(const char *text, struct attribute_columns *ret, char *scratch,
                                    size_t scratch_size)
{
    struct attribute_columns columns = {0};
    const char *wrong = NULL;

    for (bool more = text[0]; more && !wrong;) {
        const char *comma = strchr(text, ',');
        struct slice item =
            slice_trim((struct slice){text, comma ? (size_t)(comma - text) : strlen(text)});

        if (columns.len == ATTRIBUTES_MAX)
            wrong = "at most 16 columns are taken";
        else if (!is_name(item))
            wrong =
                "columns' names with commas in between are needed, each in UTF-8 and of at most "
                "63 bytes (plan, scopes)";
        else
            wrong = add(&columns, item, scratch, scratch_size);
        more = comma;
        text += comma ? comma - text + 1 : 0;
    }
    if (!wrong)
        *ret = columns;
    return wrong;
}

void attribute_columns_print(const struct attribute_columns *columns, struct buffer *out)
{
    for (size_t i = 0; i < columns->len; i++)
        buffer_printf(out, "%s%s", i > 0 ? ", " : "", columns->column[i].name);
}
