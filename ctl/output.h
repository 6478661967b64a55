/* output: rows and objects, as tables for people, or as JSON or CSV for programs. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_OUTPUT_H
#define APIKEYCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

struct column {
    const char *member, *heading;
};

/* Print an array of objects: whole as JSON, or the named columns as a table. Takes `rows`. */
void output_rows(bool json, json_t *rows, const struct column *columns, size_t count);

/* The same, or as CSV (RFC 4180) with the members' names as the first line. CSV shows text as a
 * table does, so that it is safe for a terminal too; true and false are "yes" and "no", null is
 * empty. */
enum output_form { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };

void output_rows_as(enum output_form form, json_t *rows, const struct column *columns,
                    size_t count);

/* Returns how many columns of a terminal the table takes. */
int output_width(const json_t *rows, const struct column *columns, size_t count);

/* Print one object: as JSON, or a member a line. Takes `object`. */
void output_object(bool json, json_t *object);

/* Print text that is safe for a terminal: control characters become "?". */
void output_text(const char *text);

#endif
