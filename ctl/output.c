/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "die.h"

/* Names come from a database: they must not steer the terminal. C1 controls are 0xc2 0x80 to 0x9f
 * in UTF-8. */
static char *harmless(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        die(EX_OSERR, "out of memory");
    for (unsigned char *at = (unsigned char *)copy; *at; at++) {
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
    return copy;
}

void output_text(const char *text)
{
    char *copy = harmless(text);

    fputs(copy, stdout);
    free(copy);
}

static char *cell_text(const json_t *value)
{
    char number[40];

    switch (json_typeof(value)) {
    case JSON_STRING:
        return harmless(json_string_value(value));
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return harmless(number);
    case JSON_REAL:
        snprintf(number, sizeof number, "%g", json_real_value(value));
        return harmless(number);
    case JSON_TRUE:
        return harmless("yes");
    case JSON_FALSE:
        return harmless("no");
    default:
        return harmless("-");
    }
}

enum { COLUMNS_MAX = 16, GAP = 2 }; /* of a table */

/* Columns of the terminal that the text takes. */
static int width_of(const char *text)
{
    wchar_t wide[512];
    size_t len = mbstowcs(wide, text, sizeof wide / sizeof wide[0]);
    int width = len < sizeof wide / sizeof wide[0] ? wcswidth(wide, len) : -1;

    return width >= 0 ? width : (int)strlen(text);
}

static void print_cell(const char *text, int width, bool last)
{
    fputs(text, stdout);
    if (!last)
        printf("%*s", width - width_of(text) + GAP, "");
}

static void measure(const json_t *rows, const struct column *columns, size_t count,
                    int width[static COLUMNS_MAX])
{
    const json_t *row;
    size_t i;

    for (size_t k = 0; k < count; k++)
        width[k] = width_of(columns[k].heading);
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < count; k++) {
            char *text = cell_text(json_object_get(row, columns[k].member));

            if (width_of(text) > width[k])
                width[k] = width_of(text);
            free(text);
        }
    }
}

int output_width(const json_t *rows, const struct column *columns, size_t count)
{
    int width[COLUMNS_MAX] = {0}, whole = 0;

    measure(rows, columns, count, width);
    for (size_t k = 0; k < count; k++)
        whole += width[k] + (k > 0 ? GAP : 0);
    return whole;
}

static void print_table(const json_t *rows, const struct column *columns, size_t count)
{
    int width[COLUMNS_MAX] = {0};
    const json_t *row;
    size_t i;

    measure(rows, columns, count, width);
    for (size_t k = 0; k < count; k++)
        print_cell(columns[k].heading, width[k], k + 1 == count);
    putchar('\n');
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < count; k++) {
            char *text = cell_text(json_object_get(row, columns[k].member));

            print_cell(text, width[k], k + 1 == count);
            free(text);
        }
        putchar('\n');
    }
}

static void print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
}

/* Spreadsheets run a cell that begins like this as a formula, and users may name keys so. */
static bool is_formula(const char *text)
{
    return text[0] && strchr("=+-@", text[0]) && text[1 + strspn(text + 1, "0123456789")];
}

static void print_csv_cell(const json_t *value, bool last)
{
    char *text = cell_text(value);

    fputs(json_is_string(value) && is_formula(text) ? "\"'" : "\"", stdout);
    for (const char *at = json_is_null(value) ? "" : text; *at; at++) {
        if (*at == '"')
            putchar('"');
        putchar(*at);
    }
    fputs(last ? "\"\r\n" : "\",", stdout);
    free(text);
}

static void print_csv(const json_t *rows, const struct column *columns, size_t count)
{
    const json_t *row;
    size_t i;

    for (size_t k = 0; k < count; k++)
        printf("%s%s", columns[k].member, k + 1 == count ? "\r\n" : ",");
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < count; k++)
            print_csv_cell(json_object_get(row, columns[k].member), k + 1 == count);
    }
}

void output_rows_as(enum output_form form, json_t *rows, const struct column *columns, size_t count)
{
    switch (form) {
    case OUTPUT_TABLE:
        print_table(rows, columns, count);
        break;
    case OUTPUT_JSON:
        print_json(rows);
        break;
    case OUTPUT_CSV:
        print_csv(rows, columns, count);
        break;
    }
    json_decref(rows);
}

void output_rows(bool json, json_t *rows, const struct column *columns, size_t count)
{
    output_rows_as(json ? OUTPUT_JSON : OUTPUT_TABLE, rows, columns, count);
}

void output_object(bool json, json_t *object)
{
    const char *name;
    json_t *value;
    int width = 0;

    if (json) {
        print_json(object);
        json_decref(object);
        return;
    }
    json_object_foreach(object, name, value)
    {
        if ((int)strlen(name) > width)
            width = (int)strlen(name);
    }
    json_object_foreach(object, name, value)
    {
        char *text = cell_text(value);

        printf("%-*s  %s\n", width, name, text);
        free(text);
    }
    json_decref(object);
}
